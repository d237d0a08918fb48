"""A result that was cut is seen where its step is shown, and never used unnoticed."""

from __future__ import annotations

from pathlib import Path

import pytest

from cli.conftest import Flujoctl

LIST = 'name: w\nsteps:\n  - {name: list, task: shell, inputs: {command: "seq 1000; seq 999 >&2", max_output: 200}}\n'

USES = {
    "in a text": '  - {name: use, task: echo, inputs: {message: "n: {{ steps.list.result.stdout }}"}}\n',
    "its length": '  - {name: use, task: echo, inputs: {message: "{{ steps.list.result.stdout | length }}"}}\n',
    "its lines": '  - {name: use, task: noop, for_each: "{{ steps.list.result.stdout.splitlines() }}"}\n',
    "by get": "  - {name: use, task: echo, inputs: {message: \"{{ steps.list.result.get('stdout', '') }}\"}}\n",
    "by attr": "  - {name: use, task: echo, inputs: {message: \"{{ steps.list.result | attr('stdout') }}\"}}\n",
    "in a condition": '  - {name: use, task: noop, condition: "steps.list.result.stdout"}\n',
    "as stdin": '  - {name: use, task: shell, inputs: {command: cat, stdin: "{{ steps.list.result.stdout }}"}}\n',
    "in code": "  - {name: use, task: python_code, inputs: {code: \"result = steps['list']['result']['stdout']\"}}\n",
    "as an output": 'outputs: {all: "{{ steps.list.result.stdout }}"}\n',
    "for a child": "  - {name: use, task: workflow, inputs: {file: child.yaml, inputs: "
    '{n: "{{ steps.list.result.stdout }}"}}}\n',
}


def test_a_cut_output_is_told_where_its_step_is_shown(folder: Path, flujoctl: Flujoctl) -> None:
    """In the course of the run, at its end, and by every command that shows the step; with what keeps more."""
    (folder / "w.yaml").write_text(LIST)
    note = "of what step list printed, stdout and stderr were cut; `max_output: BYTES` keeps more, `stdout: FILE` all"

    ended = flujoctl("run", "w.yaml", "--id", "r")

    assert ended.code == 0
    assert "; its stdout and stderr were cut" in ended.err
    assert note in ended.err
    assert note in flujoctl("inspect", "r").err
    assert "stdout and stderr were cut" in flujoctl("inspect", "r").out
    assert note in flujoctl("inspect", "r", "--step", "list").out
    for command in (["events"], ["watch"]):
        assert "stdout and stderr were cut" in flujoctl(*command, "r").out


def test_a_loop_tells_once_of_all_that_was_cut(folder: Path, flujoctl: Flujoctl) -> None:
    """By its own name."""
    (folder / "w.yaml").write_text(LIST.replace("task: shell", "task: shell, for_each: [1, 2, 3]"))

    assert flujoctl("run", "w.yaml", "--id", "r").err.count("of what step list printed") == 1


def test_a_whole_output_is_told_of_nowhere(folder: Path, flujoctl: Flujoctl) -> None:
    """Also one that speaks of such things itself."""
    (folder / "says").write_text('{"truncated":true,"stdout_cut":1}')
    (folder / "w.yaml").write_text("name: w\nsteps: [{name: s, task: shell, inputs: {command: cat says}}]\n")

    assert "cut" not in flujoctl("run", "w.yaml", "--id", "r", "--workspace", ".").err
    assert "was cut" not in flujoctl("inspect", "r").out


@pytest.mark.parametrize("use", USES)
def test_a_cut_output_is_never_used_unnoticed(folder: Path, flujoctl: Flujoctl, use: str) -> None:
    """However it is used, the step that does fails, and says what keeps more."""
    (folder / "child.yaml").write_text("name: child\nparams: {n: {type: string}}\nsteps: [{name: a, task: noop}]\n")
    (folder / "w.yaml").write_text(LIST + USES[use])

    ended = flujoctl("run", "w.yaml", "--id", "r")

    assert ended.code == 1, ended
    assert "`stdout` was cut, since there was more of it than was kept" in ended.err
    assert "`max_output`" in ended.err
    assert "`stdout: FILE`" in ended.err
