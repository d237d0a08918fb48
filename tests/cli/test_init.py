"""flujoctl init: what it writes, and that what it writes works as its first lines say."""

from __future__ import annotations

import json
import os
import shlex
from pathlib import Path

import pytest

from cli.conftest import Flujoctl
from flujo.cli.commands import init

STARTERS = init.available()


def test_a_new_user_gets_a_workflow_and_what_to_type(folder: Path, flujoctl: Flujoctl) -> None:
    """The first command printed runs it as it is."""
    ended = flujoctl("init")

    wrote, *commands = ended.err.splitlines()
    assert (ended.code, ended.out, wrote) == (0, "", "wrote first.yaml")
    assert commands[0].startswith("try: flujoctl run first.yaml --id first")
    assert (folder / "first.yaml").read_bytes() == STARTERS["first"].read_bytes()


def test_a_folder_is_made_and_the_commands_lead_there(folder: Path, flujoctl: Flujoctl) -> None:
    """With all folders above it, whatever its name needs."""
    ended = flujoctl("init", "my jobs/new", "--example", "retry")

    assert (folder / "my jobs" / "new" / "retry.yaml").is_file()
    assert ended.err.splitlines()[1].startswith("try: cd 'my jobs/new' && flujoctl run retry.yaml")


@pytest.mark.parametrize("name", STARTERS)
def test_every_starter_works_as_its_first_lines_say(name: str, folder: Path, flujoctl: Flujoctl) -> None:
    """All its commands, one after another; the only ones that end otherwise than with 0 say so."""
    told = json.loads(flujoctl("init", "--example", name, "-o", "json").out)

    ends = []
    for command in told["commands"]:
        words = shlex.split(command, comments=True)
        ended = flujoctl(*words[1:])
        ends.append((command, ended.code))
        if "resume first" in command:  # there is nothing to resume, as nobody has pressed Ctrl-C
            assert (ended.code, "completed" in ended.err) == (4, True)
        else:
            assert ended.code == (7 if "ends with 7" in command else 0), ended.err
    assert len(ends) >= 2
    assert told["path"] == STARTERS[name].name


@pytest.mark.parametrize("name", [name for name, path in STARTERS.items() if path.suffix == ".yaml"])
def test_no_starter_gives_a_warning(name: str, folder: Path, flujoctl: Flujoctl) -> None:
    """A file to learn from is beyond reproach."""
    flujoctl("init", "--example", name)

    ended = flujoctl("validate", f"{name}.yaml")

    assert (ended.code, ended.err) == (0, "1 file valid\n")


def test_what_is_there_is_left_as_it_is(folder: Path, flujoctl: Flujoctl) -> None:
    """Be it a file, a link to nowhere, or a file where the folder should be."""
    (folder / "first.yaml").write_text("mine")
    (folder / "file").write_text("mine")
    os.symlink("nowhere", folder / "retry.yaml")

    ends = [flujoctl("init"), flujoctl("init", "--example", "retry"), flujoctl("init", "file")]

    assert [(ended.code, ended.err.splitlines()[0]) for ended in ends] == [
        (4, "error[file-exists]: first.yaml is there already; it was left as it is"),
        (4, "error[file-exists]: retry.yaml is there already; it was left as it is"),
        (4, "error[file-exists]: file is there already; it was left as it is"),
    ]
    assert (folder / "first.yaml").read_text() == (folder / "file").read_text() == "mine"
    assert not (folder / "nowhere").exists()


def test_a_place_that_cannot_be_written_to_is_named(folder: Path, flujoctl: Flujoctl) -> None:
    """With another way."""
    ended = flujoctl("init", "/proc/flujo")

    error, remedy = ended.err.splitlines()
    assert ended.code == 2
    assert error.startswith("error[file-not-writable]: /proc/flujo/first.yaml cannot be written: ")
    assert remedy == "try: flujoctl init ANOTHER-DIR"


def test_an_unknown_starter_is_answered_with_the_nearest(folder: Path, flujoctl: Flujoctl) -> None:
    """And nothing is written."""
    ended = flujoctl("init", "--example", "aproval")

    assert ended.code == 3
    assert ended.err.splitlines()[1:] == ["try: flujoctl init --example approval", "try: flujoctl init --list"]
    assert sorted(path.name for path in folder.iterdir()) == [".flujo"]


def test_starters_are_listed_with_what_they_show(folder: Path, flujoctl: Flujoctl) -> None:
    """The one that is written by default comes first."""
    table = flujoctl("init", "--list").out.splitlines()
    listed = json.loads(flujoctl("init", "--list", "-o", "json").out)

    assert [line.split()[0] for line in table] == [each["name"] for each in listed] == list(STARTERS)
    assert listed[0] == {"name": "first", "file": "first.yaml", "summary": "A first workflow"}
    assert flujoctl("init", "--list", "-o", "name").out.split() == list(STARTERS)
