"""Editing a workflow after a failure: what has not completed may change, what has completed binds."""

from __future__ import annotations

import shutil

import pytest

from acceptance.terminal import Ended, Terminal, on_every_store

FILE = "edited steps.yaml"

FIRST = '- {name: first, task: shell, inputs: {command: "echo first >> {{ start_dir }}/log"}}'
SECOND = '- {name: second, task: shell, inputs: {command: "echo second >> {{ start_dir }}/log"}}'
BROKEN = '- {name: broken, task: shell, inputs: {command: "test -e {{ start_dir }}/mended"}}'
LAST = '- {name: last, task: shell, inputs: {command: "echo last >> {{ start_dir }}/log"}}'


def definition(*steps: str) -> str:
    """A workflow of these steps."""
    return "\n".join(["name: edited", "steps:", *(f"  {step}" for step in steps), ""])


@pytest.fixture
def failed(terminal: Terminal) -> Terminal:
    """A terminal with a run `r` that has completed `first` and `second` and failed in `broken`."""
    terminal.write(FILE, definition(FIRST, SECOND, BROKEN, LAST))
    ended = terminal.flujoctl("run", FILE, "--id", "r")
    assert ended.code == 1, ended
    assert ended.remedies == ["flujoctl inspect r", "flujoctl resume r"]
    return terminal


def resume_edited(terminal: Terminal, *steps: str) -> Ended:
    """Put other steps into the file and resume."""
    terminal.write(FILE, definition(*steps))
    return terminal.flujoctl("resume", "r")


def test_a_refusal_comes_first_and_names_few_commands(failed: Terminal) -> None:
    """No note that the file is used before it is refused; the commands for other situations are shown by -v."""
    refused = resume_edited(failed, FIRST.replace("echo first", "echo FIRST"), SECOND, BROKEN, LAST)

    first, *_ = refused.err.splitlines()
    assert first.startswith("error[state-incompatible]: run 'r' cannot resume")
    assert first.endswith("(StateIncompatibilityError)")
    assert [remedy.split()[3] for remedy in refused.remedies] == ["--stored", "--from-step", "--accept-changes"]
    assert refused.err.splitlines()[-1] == "-v shows 4 more"


def test_what_has_not_completed_may_change(failed: Terminal) -> None:
    """The failed step and a later one are edited, a step is added at the end: the run goes on with the new ones."""
    ended = resume_edited(
        failed,
        FIRST,
        SECOND,
        BROKEN.replace("test -e", "echo"),
        LAST.replace("echo last", "echo LAST"),
        "- {name: more, task: noop}",
    )

    assert ended.code == 0, ended
    assert f"{FILE} has changed" in ended.err
    assert failed.lines("log") == ["first", "second", "LAST"]


def test_what_has_completed_binds(failed: Terminal) -> None:
    """Every difference is named, the exit code is 4, and nothing has happened to the run."""
    before = failed.inspect("r")["seq"]
    changed, inserted = FIRST.replace("echo", "printf"), "- {name: before, task: noop}"
    edits = {
        "changed": ((changed, SECOND, BROKEN, LAST), ["first: its task, inputs or condition have changed"]),
        "removed": ((SECOND, BROKEN, LAST), ["first: it has completed, and is no longer in the definition"]),
        "renamed": (
            (FIRST.replace("first", "begin", 1), SECOND, BROKEN, LAST),
            ["first: it has completed, and seems to be called 'begin' now"],
        ),
        "reordered": ((SECOND, FIRST, BROKEN, LAST), ["first: it has completed, and now comes after 'second'"]),
        "inserted": (
            (FIRST, inserted, SECOND, BROKEN, LAST),
            ["before: it is new, and stands before the completed step 'second'"],
        ),
        "several": (
            (changed, BROKEN, LAST),
            ["first: its task, inputs or condition have changed", "second: it has completed, and is no longer"],
        ),
    }
    for edit, (steps, differences) in edits.items():
        ended = resume_edited(failed, *steps)

        assert ended.code == 4, (edit, ended)
        assert ended.out == ""
        listed = [line.strip() for line in ended.err.splitlines() if line.startswith("  ")]
        assert len(listed) == len(differences), (edit, listed)
        for line, difference in zip(listed, differences, strict=True):
            assert line.startswith(difference), edit
    assert failed.inspect("r")["seq"] == before


@on_every_store
def test_every_printed_remedy_works_as_printed(failed: Terminal) -> None:
    """From going on with the stored definition to forgetting the run; each is tried on the same store."""
    resume_edited(failed, FIRST.replace("echo first", "echo FIRST"), SECOND, BROKEN, LAST)
    refused = failed.flujoctl("resume", "r", "-v")
    stored, from_step, accept, delete, prune, anew, last_resort = refused.remedies
    assert last_resort.startswith("remove the store")
    store, saved = failed.folder / ".flujo", failed.folder / "saved"
    shutil.copytree(store, saved)
    failed.write("mended", "")

    for command, log in (
        (stored, ["last"]),
        (from_step, ["FIRST", "second", "last"]),
        (accept, ["last"]),
        (anew, ["FIRST", "second", "last"]),
        (prune, []),
        (delete, []),
    ):
        shutil.rmtree(store)
        shutil.copytree(saved, store)
        failed.write("log", "")

        ended = failed.shell(command)

        assert ended.code == 0, (command, ended)
        assert failed.lines("log") == log, command
    assert failed.flujoctl("inspect", "r").code == 3  # the last of them was delete
