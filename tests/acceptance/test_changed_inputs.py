"""Resuming with other parameters: no output that was made of the old ones is used for the new ones."""

from __future__ import annotations

import shutil

import pytest

from acceptance.terminal import Terminal

NIGHTLY = """\
name: nightly
params:
  day: {type: string, default: mon}
steps:
  - {name: fetch, task: shell, inputs: {command: "echo data-of-{{ day }} | tee -a {{ start_dir }}/log"}}
  - {name: check, task: shell, inputs: {command: "test -e {{ start_dir }}/mended"}}
  - {name: report, task: echo, inputs: {message: "report {{ day }}: {{ steps.fetch.result.stdout | trim }}"}}
outputs: {report: "{{ steps.report.result }}"}
"""


@pytest.fixture
def failed(terminal: Terminal) -> Terminal:
    """A terminal with a run `r` that has fetched the data of one day, and failed then."""
    terminal.write("nightly.yaml", NIGHTLY)
    assert terminal.flujoctl("run", "nightly.yaml", "--id", "r").code == 1
    terminal.write("mended", "")
    return terminal


WAYS = {
    "an argument": ["resume", "r", "day=tue"],
    "an option": ["resume", "r", "-p", 'day:="tue"'],
    "a fork": ["fork", "r", "day=tue"],
}


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
def test_the_step_that_has_used_the_old_day_is_named(failed: Terminal, way: list[str]) -> None:
    """By whatever way the new one is given; the run is as it was."""
    before = failed.inspect("r")

    ended = failed.flujoctl(*way)

    assert (ended.code, ended.out) == (4, "")
    first, named, *_ = ended.err.splitlines()
    assert first.startswith(f"error[state-incompatible]: run 'r' cannot {way[0]}: the inputs differ")
    assert named == '  fetch: it has completed with `day` "mon", now "tue"'
    assert failed.inspect("r") == before


@pytest.mark.parametrize("given", [["day=tue"], ["--params-file", "new.yaml"]], ids=["an argument", "a file"])
def test_whoever_overrides_parameters_is_told_what_keeps_the_old_ones(failed: Terminal, given: list[str]) -> None:
    """The option says that they are meant to be replaced, as pages of earlier systems promise, so the run goes on."""
    failed.write("new.yaml", "day: tue\n")

    ended = failed.flujoctl("run", "nightly.yaml", "--resume", "--override-params", *given)

    assert ended.code == 0
    assert 'note: fetch: it has completed with `day` "mon", now "tue"' in ended.err.splitlines()
    assert "report tue: data-of-mon" in ended.out


def test_every_remedy_works_as_printed(failed: Terminal) -> None:
    """Each is tried on the same store."""
    refused = failed.flujoctl("resume", "r", "day=tue", "-v")
    keep, from_step, accept, delete, prune, anew, _ = refused.remedies
    store, saved = failed.folder / ".flujo", failed.folder / "saved"
    shutil.copytree(store, saved)

    for command, report in (
        (keep, "report mon: data-of-mon"),
        (from_step, "report tue: data-of-tue"),
        (accept, "report tue: data-of-mon"),
        (anew, "report tue: data-of-tue"),
        (prune, ""),
        (delete, ""),
    ):
        shutil.rmtree(store)
        shutil.copytree(saved, store)

        ended = failed.shell(command)

        assert ended.code == 0, (command, ended)
        assert report in ended.out, command


def test_a_remedy_of_a_new_step_names_one_that_has_run(failed: Terminal) -> None:
    """The new step itself never began, so nothing can be run again from there."""
    failed.write("nightly.yaml", NIGHTLY.replace("steps:\n", "steps:\n  - {name: before, task: noop}\n"))

    refused = failed.flujoctl("resume", "r")

    assert "--from-step fetch" in refused.remedies[1]
    assert failed.shell(refused.remedies[1]).code == 0
