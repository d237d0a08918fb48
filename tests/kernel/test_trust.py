"""Whose files are trusted that were found and not named."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from flujo.kernel.errors import UntrustedOwnerError
from flujo.kernel.trust import foreign_owner, make_own_folder, require_trusted, set_mode
from other_users import OTHER, give_away, root_only


def test_what_is_ours_or_not_there_is_trusted(tmp_path: Path) -> None:
    """A path without a file has no owner, and neither has a link into the void but its maker."""
    (tmp_path / "link").symlink_to(tmp_path / "missing")

    require_trusted([tmp_path, tmp_path / "missing", tmp_path / "link", Path("/")], "flujoctl list")


@root_only
def test_the_owner_of_a_link_and_of_what_it_leads_to_count(tmp_path: Path) -> None:
    """Either could put something else there."""
    (tmp_path / "file").touch()
    (tmp_path / "link").symlink_to(tmp_path / "file")
    (tmp_path / "planted").symlink_to(tmp_path)
    give_away(tmp_path / "file")
    give_away(tmp_path / "planted")

    assert foreign_owner(tmp_path / "link") == f"user {OTHER}"
    assert foreign_owner(tmp_path / "planted") == f"user {OTHER}"


@root_only
def test_a_refusal_names_the_file_its_owner_and_what_to_type(tmp_path: Path) -> None:
    """A name is shown where the user has one."""
    os.chown(tmp_path, 1, -1)

    with pytest.raises(UntrustedOwnerError) as refused:
        require_trusted([tmp_path], "flujoctl list --store file:x")

    assert refused.value.owner == "daemon"
    assert str(tmp_path) in str(refused.value)
    assert refused.value.hints == ("flujoctl list --store file:x  # if you trust daemon",)


@root_only
def test_what_is_ours_is_decided_by_who_we_are_now(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that has given root up owns what its new user owns."""
    give_away(tmp_path)
    monkeypatch.setattr(os, "geteuid", lambda: OTHER)

    assert foreign_owner(tmp_path) is None


@pytest.mark.parametrize("number", [errno.EPERM, errno.ENOTSUP, errno.EIO])
def test_only_a_disk_without_modes_may_refuse_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    """What is made there is as private as its mount says; any other error of a disk is one."""

    def refuse(path: Path, mode: int) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "chmod", refuse)
    if number == errno.EIO:
        with pytest.raises(OSError, match="Input/output"):
            set_mode(tmp_path, 0o700)
    else:
        set_mode(tmp_path, 0o700)


def test_a_place_that_takes_no_folders_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As /proc does, whose folder is there and which says that it is not."""

    def takes_none(path: Path, mode: int) -> None:
        raise FileNotFoundError(errno.ENOENT, "No such file or directory", str(path))

    monkeypatch.setattr(Path, "mkdir", takes_none)

    with pytest.raises(FileNotFoundError, match="store-kernels"):
        make_own_folder(tmp_path / "store-kernels", tmp_path)
