"""What is printed about a failed run leads further: a resume only where it can help; and it says where things are."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from cli.conftest import Flujoctl
from flujo.cli.session import Session

LATE = """\
name: late
params: {ask: {type: boolean, default: true}}
steps:
  - {name: first, task: noop}
  - {name: late, task: echo, condition: ask, inputs: {message: "{{ env.LATE_TOKEN }}"}}
"""

SHELL = "name: fails\nsteps:\n  - {name: a, task: shell, inputs: {command: [./nothing.sh]}}\n"


def tries(err: str) -> list[str]:
    """The commands that are suggested."""
    return [line.removeprefix("try: ") for line in err.splitlines() if line.startswith("try: ")]


@pytest.mark.parametrize(
    "command", [["run", "late.yaml", "--id", "r"], ["inspect", "r"], ["explain", "r"], ["wait", "r"]]
)
def test_a_resume_that_fails_in_the_same_way_is_not_the_remedy(
    flujoctl: Flujoctl, folder: Path, command: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The file is to be edited first, or the run goes on as another one, which reads its variables anew."""
    (folder / "late.yaml").write_text(LATE, encoding="utf-8")
    monkeypatch.delenv("LATE_TOKEN", raising=False)
    if command[0] != "run":
        flujoctl("run", "late.yaml", "--id", "r")

    found = tries(flujoctl(*command).err)

    assert "flujoctl resume r" not in found
    assert f"edit {folder / 'late.yaml'}, then: flujoctl resume r" in found
    (fork,) = [each for each in found if each.startswith("flujoctl fork r --id NEW-ID")]
    monkeypatch.setenv("LATE_TOKEN", "here")
    assert flujoctl("resume", "r").code == 1
    assert flujoctl(*fork.partition("  #")[0].split()[1:]).code == 0
    (folder / "late.yaml").write_text(LATE.replace("env.LATE_TOKEN", "'there'"), encoding="utf-8")
    assert flujoctl("resume", "r").code == 0


@pytest.mark.parametrize("command", [["run", "late.yaml", "--id", "r"], ["inspect", "r"], ["explain", "r"]])
def test_variables_are_read_anew_only_where_one_is_what_is_wrong(
    flujoctl: Flujoctl, folder: Path, command: list[str]
) -> None:
    """A new run would fail in the same way as this one."""
    (folder / "late.yaml").write_text(LATE.replace("env.LATE_TOKEN", "[1][9]"), encoding="utf-8")
    if command[0] != "run":
        flujoctl("run", "late.yaml", "--id", "r")

    found = tries(flujoctl(*command).err)

    assert f"edit {folder / 'late.yaml'}, then: flujoctl resume r" in found
    assert not any("fork" in each for each in found)


def test_inspect_says_where_a_run_works_and_where_it_was_started(flujoctl: Flujoctl, folder: Path) -> None:
    """And so does the failure of a command that is not there."""
    (folder / "fails.yaml").write_text(SHELL, encoding="utf-8")

    ended = flujoctl("run", "fails.yaml", "--id", "r")

    workspace = folder / ".flujo" / "workspaces" / "r"
    assert f"there is no command './nothing.sh' in {workspace}" in ended.err
    shown = flujoctl("inspect", "r").out
    assert f"workspace  {workspace}\n" in shown
    assert f"started in {folder}\n" in shown
    assert json.loads(flujoctl("inspect", "r", "-o", "json").out)["environment"]["workspace"] == str(workspace)


def test_code_that_misses_a_file_says_where_it_ran(flujoctl: Flujoctl, folder: Path) -> None:
    """A relative path counts from there."""
    text = "name: x\nsteps:\n  - {name: a, task: python_code, inputs: {code: \"open('data')\"}}\n"
    (folder / "x.yaml").write_text(text, encoding="utf-8")

    err = flujoctl("run", "x.yaml", "--id", "r").err

    assert f"it ran in {folder / '.flujo' / 'workspaces' / 'r'})" in err


@pytest.mark.parametrize("signal", ["ok to go", "{{ 'a' ~ ';b' }}", "1st"])
def test_a_signal_that_nobody_could_send_is_not_waited_for(flujoctl: Flujoctl, folder: Path, signal: str) -> None:
    """The name is refused when the file is read, and one that a template has made when it is."""
    (folder / "w.yaml").write_text(
        f"name: w\nsteps:\n  - name: ask\n    task: wait_signal\n    inputs: {{signal: {json.dumps(signal)}}}\n"
    )

    ended = flujoctl("run", "w.yaml", "--id", "r", "--no-wait")

    assert ended.code == (1 if "{{" in signal else 2)
    assert "must match ^[A-Za-z_][A-Za-z0-9_.-]{0,99}$" in ended.err


def test_only_commands_of_flujoctl_are_told_where_the_store_is() -> None:
    """The command that makes room on a full disk is `rm`, which knows no --store."""
    session = Session(store="sqlite:s.db")

    assert session.addressed("rm reserve  # room for this: flujoctl prune") == (
        "rm reserve  # room for this: flujoctl prune"
    )
    assert session.addressed("flujoctl prune  # rest") == "flujoctl prune --store sqlite:s.db  # rest"
    assert session.addressed("free some space, then: flujoctl list") == (
        "free some space, then: flujoctl list --store sqlite:s.db"
    )
