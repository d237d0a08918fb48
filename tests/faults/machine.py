"""What fault tests need of the machine: a compiler, and disks that are full or lose their power.

Everything raises `Missing` where the machine cannot do it."""

from __future__ import annotations

import fcntl
import os
import shutil
import struct
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_SHUTDOWN = 0x8004587D  # EXT4_IOC_SHUTDOWN
_WITHOUT_LOG_FLUSH = 2  # what was not committed to the journal of the file system is lost, as when the power fails


class Missing(Exception):
    """This machine lacks something; the text says what, and how to get it."""


def compile_disk(folder: Path, source: str = "disk.c") -> Path:
    """Return the library made of disk.c, or of strict.c, put into `folder`."""
    _require_linux()
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        raise Missing("there is no C compiler; on Debian: apt install gcc libc6-dev")
    library = (folder / source).with_suffix(".so")
    text = Path(__file__).with_name(source)
    command = [compiler, "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC", "-o", str(library), str(text), "-ldl"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise Missing(f"the C compiler cannot make {source}; on Debian: apt install gcc libc6-dev\n{done.stderr}")
    return library


@contextmanager
def small_disk(place: Path, size: int) -> Iterator[Path]:
    """A disk of `size` bytes in memory, mounted at `place`."""
    _require_root("mount")
    place.mkdir()
    _do("mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(place))
    try:
        yield place
    finally:
        _unmount(place)


class Cuttable:
    """An ext4 disk in a file of its own, whose power can be cut. `folder` is where it is mounted."""

    def __init__(self, place: Path, megabytes: int = 64) -> None:
        _require_root("mount", "mkfs.ext4")
        self.folder = place / "mounted"
        self.folder.mkdir(parents=True)
        self._image = place / "disk.image"
        with self._image.open("wb") as image:
            image.truncate(megabytes << 20)
        _do("mkfs.ext4", "-q", "-F", str(self._image))
        self._mount()

    def cut(self) -> None:
        """Let the power fail. Nothing can be read or written before `restart`."""
        folder = os.open(self.folder, os.O_RDONLY)
        try:
            fcntl.ioctl(folder, _SHUTDOWN, struct.pack("I", _WITHOUT_LOG_FLUSH))
        except OSError as error:
            raise Missing(f"this kernel cannot cut the power of an ext4 file system: {error}") from error
        finally:
            os.close(folder)

    def restart(self) -> None:
        """Mount it again, with what was on the disk when the power failed. Nobody may have a file open on it."""
        self.close()
        self._mount()

    def close(self) -> None:
        """Take it away."""
        _unmount(self.folder)

    def _mount(self) -> None:
        _do("mount", "-o", "loop", str(self._image), str(self.folder))


@contextmanager
def cuttable_disk(place: Path) -> Iterator[Cuttable]:
    """A disk whose power can be cut, in the folder `place`."""
    disk = Cuttable(place)
    try:
        yield disk
    finally:
        disk.close()


def _require_linux() -> None:
    if not sys.platform.startswith("linux"):
        raise Missing("only Linux has what this takes")


def _require_root(*commands: str) -> None:
    _require_linux()
    if os.geteuid() != 0:
        raise Missing("only root may mount a disk; run the tests as root, or in a container that may")
    for command in commands:
        if shutil.which(command) is None:
            raise Missing(f"there is no {command}; on Debian: apt install mount e2fsprogs")


def _do(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise Missing(f"{' '.join(command)}: {done.stderr.strip()}")


def _unmount(folder: Path) -> None:
    """Take a disk away, also from under a test that has failed and still has files open on it."""
    subprocess.run(["umount", "-l", str(folder)], check=True)
