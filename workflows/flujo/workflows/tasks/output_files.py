"""The outputs of a command that go to a file: as they come into one beside it, which takes its place at the end.

    with OutputFiles({"stdout": path}) as files:
        ... on_output=files.receive
        await files.appear()

Until then, and after a failure, what stood there before stands there still.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType

from flujo.workflows.blocking import GivenUp, may_block

from .files import mode_of, put_in_place, require_file


class OutputFiles:
    """The files of one attempt, by the output that each of them takes. They are removed unless they have appeared."""

    def __init__(self, places: Mapping[str, Path]) -> None:
        """Raises OSError for a place where no file can be, before anything is run."""
        self._places = dict(places)
        self._beside: dict[str, Path] = {}
        self.descriptors: dict[str, int] = {}
        self._failure: OSError | None = None
        for output, path in self._places.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            if (mode := mode_of(path)) is not None:
                require_file(path, mode)
            beside = path.with_name(f".{path.name[:100]}.{os.urandom(8).hex()}")
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
            self.descriptors[output] = os.open(beside, flags, 0o666)  # less the umask
            self._beside[output] = beside

    def __enter__(self) -> OutputFiles:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for descriptor in self.descriptors.values():
            os.close(descriptor)
        for beside in self._beside.values():
            beside.unlink(missing_ok=True)

    def takes(self, output: str) -> bool:
        """True if an output goes to a file."""
        return output in self._places

    def receive(self, output: str, chunk: bytes) -> None:
        """Write what the command prints. A failure of the disk is kept for `appear`."""
        view = memoryview(chunk)
        try:
            while view and self._failure is None:
                view = view[os.write(self.descriptors[output], view) :]
        except OSError as error:
            error.filename = str(self._places[output])
            self._failure = error

    async def appear(self) -> None:
        """Put the files in their places, durably. Raises OSError if not all could be written."""
        if self._failure is not None:
            raise self._failure

        def work(given_up: GivenUp) -> None:
            for output, path in self._places.items():
                put_in_place(self.descriptors[output], self._beside[output], path, given_up)

        if self._places:  # or each command would take the time of a thread, a tenth of its own
            await may_block(work)
