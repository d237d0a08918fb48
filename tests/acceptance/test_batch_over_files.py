"""The example that works on many files: with all of them packed, with some that cannot be, and killed in the middle."""

from __future__ import annotations

import gzip
import signal
from pathlib import Path

import pytest

from acceptance.terminal import ROOT, Terminal, finish

EXAMPLE = str(ROOT / "examples" / "batch-over-files.yaml")


@pytest.fixture
def job(terminal: Terminal) -> Terminal:
    """A terminal in a folder with files to pack."""
    (terminal.folder / "my logs").mkdir()
    for name in ("a b.log", "it's.log", "c.log", "other.txt"):
        terminal.write(f"my logs/{name}", f"this is {name}\n")
    return terminal


ARGUMENTS = ("source=my logs", "target=packed", "pattern=*.log")


def packed(job: Terminal) -> list[str]:
    return sorted(path.name for path in (job.folder / "packed").iterdir())


def test_all_files_are_packed(job: Terminal) -> None:
    """Names with spaces and quotes included; the report and the output say how many."""
    ended = job.flujoctl("run", EXAMPLE, "--id", "r", *ARGUMENTS)

    assert ended.code == 0, ended
    assert packed(job) == ["a b.log.gz", "c.log.gz", "it's.log.gz"]
    assert gzip.decompress((job.folder / "packed" / "it's.log.gz").read_bytes()) == b"this is it's.log\n"
    output = job.inspect("r")["output"]
    assert output["packed"] == 3
    assert Path(output["report"]).read_text().startswith(f"3 of 3 files of {job.folder}/my logs are packed in")
    assert "pack: 100 % (3 of 3)" in ended.err


def test_a_folder_without_such_files(job: Terminal) -> None:
    """Nothing is to be done, and that has succeeded."""
    ended = job.flujoctl("run", EXAMPLE, "--id", "r", "source=my logs", "target=packed", "pattern=*.none")

    assert ended.code == 0, ended
    assert job.inspect("r")["output"]["packed"] == 0


def test_a_file_that_cannot_be_packed_keeps_no_other_from_it(job: Terminal) -> None:
    """The run fails at its end and says which; the command of the report packs it, and no other file again."""
    (job.folder / "packed" / "c.log.gz.part").mkdir(parents=True)

    failed = job.flujoctl("run", EXAMPLE, "--id", "r", *ARGUMENTS)

    assert failed.code == 1, failed
    assert "not packed: 1 of 3 files" in failed.err
    assert packed(job) == ["a b.log.gz", "c.log.gz.part", "it's.log.gz"]
    explained = job.flujoctl("explain", "r")
    assert "1 item of step 'pack' failed: pack[1]: ShellError" in explained.out
    assert "2 of 3 items, 1 failed" in job.flujoctl("inspect", "r").out

    (job.folder / "packed" / "c.log.gz.part").rmdir()
    (job.folder / "packed" / "a b.log.gz").unlink()
    again = job.flujoctl("resume", "r", "--from-step", "pack[1]")

    assert again.code == 0, again
    assert packed(job) == ["c.log.gz", "it's.log.gz"]
    assert job.inspect("r")["output"]["packed"] == 3


def test_a_job_that_is_killed_goes_on_with_what_is_left(job: Terminal) -> None:
    """What was packed before stays as it is."""
    job.write("slow.yaml", SLOW)
    run = job.start("run", "slow.yaml", "--id", "r")
    while not (job.folder / "begun-3").exists():
        assert run.poll() is None
    run.send_signal(signal.SIGKILL)
    finish(run)
    job.inspect_interrupted("r")
    (job.folder / "go").touch()

    ended = job.flujoctl("resume", "r")

    assert ended.code == 0, ended
    assert (job.folder / "done").read_text().split() == ["0", "1", "2", "3", "4"]
    assert job.inspect("r")["output"] == {"all": [0, 1, 2, 3, 4]}


SLOW = """\
name: slow
steps:
  - name: a
    task: batch
    inputs:
      items: "{{ range(5) | list }}"
      max_workers: 1
      task:
        task: shell
        inputs:
          working_dir: "{{ start_dir }}"
          command: |
            touch begun-{{ item }}
            while [ {{ item }} = 3 ] && [ ! -e go ]; do sleep 0.02; done
            echo {{ item }} >> done
            echo {{ item }}
outputs: {all: "{{ steps.a.result.results | map(attribute='stdout') | map('int') | list }}"}
"""
