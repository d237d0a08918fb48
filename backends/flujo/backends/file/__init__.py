"""Runs in a folder of readable files that any number of processes of a host may share. docs/file-store.md has the whole
story.

Top down: `backend` is the port, `store` does what it asks on files, `run_table` is what a handle knows of all runs,
`index` is how handles tell each other, `run_folder` looks at the files of one run, `journal` is how a record is written
and what the end of a journal is worth, `layout` finds, creates and refuses folders, `disk` is everything that changes a
file.
"""

from .backend import FileBackend, open_file

__all__ = ["FileBackend", "open_file"]
