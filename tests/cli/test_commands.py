"""What the commands do and print, on real stores."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
import yaml

from cli.conftest import Flujoctl

GATED = """\
name: gated
params: {n: {type: integer, default: 1}}
steps:
  - {name: before, task: echo, inputs: {message: "{{ args.n }}"}}
  - {name: approve, task: wait_signal}
outputs: {n: "{{ steps.before.result }}", by: "{{ steps.approve.result }}"}
"""

FLAKY = """\
name: flaky
steps:
  - {name: good, task: echo, inputs: {message: hi}}
  - {name: bad, task: shell, inputs: {command: "test -e '{{ start_dir }}/mended'"}}
"""

PROGRAM = """\
from flujo.kernel import Context, step, workflow

@step
def double(n: int) -> int:
    return 2 * n

@workflow(name="doubling")
async def doubling(ctx: Context, n: int, times: int = 1) -> int:
    for _ in range(times):
        n = await ctx.step(double, n)
    return n
"""


@pytest.fixture(autouse=True)
def files(folder: Path) -> None:
    """The workflows of these tests."""
    for name, text in (("gated.yaml", GATED), ("flaky.yaml", FLAKY), ("program_of_tests.py", PROGRAM)):
        (folder / name).write_text(text, encoding="utf-8")


# -- run -----------------------------------------------------------------------------------------------------------


def test_run_prints_the_outcome_on_stdout_and_the_rest_on_stderr(flujoctl: Flujoctl) -> None:
    """Inputs on the command line are read into their declared types."""
    ended = flujoctl("run", "program_of_tests.py:doubling", "n=3", "times:=2", "--id", "r", "--label", "team=a")

    assert ended.code == 0
    assert ended.out.splitlines()[0].startswith("completed  r  (doubling, 2 steps, ")
    assert ended.out.splitlines()[1] == "  12"
    assert "double#2: completed" in ended.err


def test_run_as_json_is_one_object(flujoctl: Flujoctl) -> None:
    """With -q there is nothing on stderr."""
    ended = flujoctl("-q", "run", "program_of_tests.py", "n=3", "-o", "json")

    state = json.loads(ended.out)
    assert (state["status"], state["output"], state["inputs"]) == ("completed", 6, {"n": 3, "times": 1})
    assert ended.err == ""


def test_run_as_yaml_and_name(flujoctl: Flujoctl) -> None:
    """The same object, and the id alone."""
    first = flujoctl("run", "program_of_tests.py", "n=3", "--id", "r", "-o", "yaml")
    again = flujoctl("run", "program_of_tests.py", "n=3", "--id", "r", "-o", "name")

    assert yaml.safe_load(first.out)["run_id"] == "r"
    assert again.out == "r\n"
    assert "exists already" in again.err


def test_run_refuses_a_taken_id_with_other_inputs(flujoctl: Flujoctl) -> None:
    """Exit code 4."""
    flujoctl("run", "program_of_tests.py", "n=3", "--id", "r")

    assert flujoctl("run", "program_of_tests.py", "n=4", "--id", "r").code == 4


def test_a_dry_run_stores_nothing(flujoctl: Flujoctl, folder: Path) -> None:
    """It shows the inputs as they would be, and the steps."""
    ended = flujoctl("run", "gated.yaml", "n=7", "--dry-run", "-o", "json")

    told = json.loads(ended.out)
    assert [step["name"] for step in told.pop("preview")] == ["before", "approve"]
    assert told == {"workflow": "gated", "version": None, "inputs": {"n": 7}, "steps": ["before", "approve"]}
    assert flujoctl("run", "gated.yaml", "n=x", "--dry-run").code == 2
    assert list((folder / ".flujo").iterdir()) == []


@pytest.mark.parametrize(
    ("target", "code", "says"),
    [
        ("absent.yaml", 3, "no file"),
        ("absent.py:w", 3, "no file"),
        ("absent_module_of_tests:w", 3, "no module"),
        ("program_of_tests.py:absent", 2, "it has: doubling"),
        ("broken_program_of_tests.py:w", 2, "NameError: name 'oops' is not defined"),
    ],
)
def test_a_target_that_cannot_be_used(flujoctl: Flujoctl, folder: Path, target: str, code: int, says: str) -> None:
    """One line says why."""
    (folder / "broken_program_of_tests.py").write_text("oops\n", encoding="utf-8")

    ended = flujoctl("run", target)

    assert ended.code == code
    assert says in ended.err.splitlines()[0]


def test_a_signal_that_has_come_is_not_asked_for(flujoctl: Flujoctl, folder: Path) -> None:
    """Whoever resumes a run after having sent what it waits for has nothing more to send."""
    (folder / "gate.yaml").write_text("name: gate\nsteps: [{name: approve, task: wait_signal}]\n", encoding="utf-8")
    assert "send it with" in flujoctl("run", "gate.yaml", "--id", "g", "--no-wait").err
    flujoctl("signal", "g", "approve")

    ended = flujoctl("resume", "g")

    assert ended.code == 0
    assert "signal approve received" in ended.err
    assert "send it with" not in ended.err


def test_no_wait_leaves_a_waiting_run_and_signal_resumes_it(flujoctl: Flujoctl) -> None:
    """Exit code 7, then the signal is stored, then it is taken."""
    left = flujoctl("run", "gated.yaml", "--id", "g", "--no-wait")
    assert left.code == 7
    assert "try: flujoctl signal g approve" in left.err.splitlines()
    assert "try: flujoctl resume g" in left.err.splitlines()

    stored = flujoctl("signal", "g", "other", "7")
    assert stored.code == 0
    assert "try: flujoctl resume g" in stored.err

    ended = flujoctl("signal", "g", "approve", "ann", "--resume", "-o", "json")
    assert ended.code == 0
    assert json.loads(ended.out)["output"] == {"n": 1, "by": "ann"}


def test_a_workflow_in_a_module_is_found_from_the_working_directory(
    flujoctl: Flujoctl, folder: Path, monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """And again by resume, from wherever that is called."""
    (folder / "module_of_tests.py").write_text(PROGRAM, encoding="utf-8")
    assert flujoctl("run", "module_of_tests:doubling", "n=3", "--id", "r").code == 0
    monkeypatch.chdir(tmp_path_factory.mktemp("elsewhere"))
    monkeypatch.setattr(sys, "path", [place for place in sys.path if place != str(folder)])
    monkeypatch.delitem(sys.modules, "module_of_tests")

    assert flujoctl("resume", "r", "--from-step", "double", "--store", f"sqlite:{folder}/.flujo/state.db").code == 0


# -- run --resume and resume ---------------------------------------------------------------------------------------


def test_resume_takes_up_the_one_unfinished_run_of_a_file(flujoctl: Flujoctl, folder: Path) -> None:
    """And tells none (3) from several (4); a completed one is resumed from a step only."""
    assert flujoctl("run", "--resume", "flaky.yaml").code == 3
    assert flujoctl("run", "flaky.yaml", "--id", "one").code == 1
    (folder / "mended").touch()
    assert flujoctl("run", "--resume", "flaky.yaml").code == 0

    none = flujoctl("run", "--resume", "flaky.yaml")
    assert none.code == 3
    assert "flujoctl resume one --from-step STEP" in none.err
    again = flujoctl("run", "--resume", "--from-step", "good", "flaky.yaml", "-o", "json")
    assert json.loads(again.out)["steps"][0]["generation"] == 2
    assert flujoctl("run", "--resume", "--start-from", "bad", "flaky.yaml").code == 0

    (folder / "mended").unlink()
    flujoctl("run", "flaky.yaml", "--id", "two")
    flujoctl("run", "flaky.yaml", "--id", "three")
    several = flujoctl("run", "--resume", "flaky.yaml")
    assert several.code == 4
    assert {"  two  failed", "  three  failed"} <= set(several.err.splitlines())
    (folder / "mended").touch()
    assert flujoctl("run", "--resume", "flaky.yaml", "--id", "two").code == 0


def test_override_params_replaces_inputs(flujoctl: Flujoctl) -> None:
    """Without values it is a plain resume with a note; values without it are refused."""
    flujoctl("run", "gated.yaml", "n=1", "--id", "g", "--no-wait")

    plain = flujoctl("run", "--resume", "--override-params", "gated.yaml", "--no-wait")
    assert plain.code == 7
    assert "recorded inputs" in plain.err
    assert flujoctl("run", "--resume", "gated.yaml", "n=2").code == 2
    assert flujoctl("run", "gated.yaml", "--override-params").code == 2
    assert flujoctl("run", "--resume", "--override-params", "gated.yaml", "n=x", "--no-wait").code == 2
    flujoctl("run", "--resume", "--override-params", "gated.yaml", "n=2", "--from-step", "before", "--no-wait")
    state = json.loads(flujoctl("inspect", "g", "-o", "json").out)
    assert (state["inputs"], state["step_outputs"]["before"]) == ({"n": 2}, {"result": 2})


def test_resume_finds_a_python_workflow_again(
    flujoctl: Flujoctl, folder: Path, monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Also from another folder: what it was started from is recorded with the run."""
    flujoctl("run", "program_of_tests.py", "n=3", "--id", "r")
    monkeypatch.chdir(tmp_path_factory.mktemp("elsewhere"))

    store = f"sqlite:{folder}/.flujo/state.db"
    ended = flujoctl("resume", "r", "n=4", "--from-step", "double", "--store", store, "-o", "json")

    assert json.loads(ended.out)["output"] == 8


def test_resume_goes_on_with_the_stored_text_when_the_file_is_gone_or_bad(flujoctl: Flujoctl, folder: Path) -> None:
    """Gone: it says so. Bad: it is refused, and --stored goes on."""
    flujoctl("run", "flaky.yaml", "--id", "r")
    (folder / "mended").touch()
    (folder / "flaky.yaml").write_text("name: [\n", encoding="utf-8")
    bad = flujoctl("resume", "r")
    (folder / "flaky.yaml").unlink()

    gone = flujoctl("resume", "r")

    assert bad.code == 2
    assert "flujoctl resume r --stored" in bad.err
    assert gone.code == 0
    assert "cannot be read; using the definition in the store" in gone.err


def test_a_resume_of_what_cannot_be_resumed(flujoctl: Flujoctl) -> None:
    """A completed run, an unknown step, options that contradict each other."""
    flujoctl("run", "program_of_tests.py", "n=3", "--id", "r")

    assert flujoctl("resume", "r").code == 4
    assert flujoctl("resume", "r", "--from-step", "absent").code == 3
    assert flujoctl("resume", "r", "--stored", "--accept-changes").code == 2


# -- list, inspect, watch --------------------------------------------------------------------------------------------


def test_list_filters_and_pages(flujoctl: Flujoctl) -> None:
    """Newest first; the printed command shows the next page."""
    for number in range(5):
        flujoctl("run", "program_of_tests.py", "n=1", "--id", f"r{number}", "--label", f"odd={number % 2}")
    flujoctl("run", "flaky.yaml", "--id", "f")

    assert flujoctl("list", "-q").out.split() == ["f", "r4", "r3", "r2", "r1", "r0"]
    assert flujoctl("ls", "-q", "--status", "failed").out.split() == ["f"]
    assert flujoctl("list", "-q", "--workflow", "doubling", "--label", "odd=1").out.split() == ["r3", "r1"]
    head, *rows = flujoctl("list").out.splitlines()
    assert head.split() == ["ID", "WORKFLOW", "STATUS", "PROGRESS", "CREATED", "DURATION", "RETRIES"]
    assert rows[0].split()[:4] == ["f", "flaky", "failed", "1/2"]
    assert [json.loads(line)["run_id"] for line in flujoctl("list", "-o", "jsonl").out.splitlines()][:2] == ["f", "r4"]

    first = flujoctl("list", "--limit", "4", "-o", "name")
    following = next(line for line in first.err.splitlines() if line.startswith("try: flujoctl "))
    assert flujoctl(*following.split()[2:], "-q").out.split() == ["r1", "r0"]
    assert len(flujoctl("list", "--all", "-q").out.split()) == 6


def test_inspect_shows_steps_and_takes_abbreviations(flujoctl: Flujoctl) -> None:
    """The beginning, or at least four characters of the end; several are listed."""
    flujoctl("run", "flaky.yaml", "--id", "nightly-2026")
    flujoctl("run", "gated.yaml", "--id", "nightly-2027", "--no-wait")

    failed = flujoctl("inspect", "2026")
    assert "status     failed" in failed.out
    assert "reason     step 'bad': ShellError" in failed.out
    assert failed.err.splitlines() == ["try: flujoctl resume nightly-2026"]
    waiting = flujoctl("get", "nightly-2027")
    assert "waiting (interrupted)" in waiting.out
    assert "waits for the signal 'approve'" in waiting.out
    assert "try: flujoctl signal nightly-2027 approve" in waiting.err
    several = flujoctl("inspect", "night")
    assert (several.code, several.err.splitlines()[1:]) == (
        4,
        ["  nightly-2027", "  nightly-2026", "try: flujoctl list --id-prefix night"],
    )
    assert flujoctl("inspect", "026").code == 3


def test_inspect_of_one_step(flujoctl: Flujoctl) -> None:
    """Its output in full, or as JSON; an unknown one is not found."""
    flujoctl("run", "program_of_tests.py", "n=3", "--id", "r")

    assert "output: 6" in flujoctl("inspect", "r", "--step", "double").out
    assert json.loads(flujoctl("inspect", "r", "--step", "double", "-o", "json").out)["output"] == 6
    assert "double: 6" in flujoctl("inspect", "r", "--show-outputs").out
    assert flujoctl("inspect", "r", "--step", "triple").code == 3


def test_watch_replays_and_ends_with_the_code_of_the_run(flujoctl: Flujoctl) -> None:
    """--after leaves out what is known; a number beyond the last event is refused with the one that works."""
    flujoctl("run", "flaky.yaml", "--id", "f")

    whole = flujoctl("watch", "f", "-o", "jsonl")
    last = [json.loads(line) for line in whole.out.splitlines()][-1]
    rest = flujoctl("watch", "f", "--after", str(last["seq"] - 1))
    beyond = flujoctl("watch", "f", "--after", "99")

    assert whole.code == 1
    assert (last["type"], last["run_id"], last["step"]) == ("run_failed", "f", "bad")
    assert last["error_type"] == "ShellError"
    assert len(rest.out.splitlines()) == 1
    assert beyond.code == 2
    assert f"try: flujoctl watch f --after {last['seq']}" in beyond.err
    assert flujoctl("watch", "f", "--after", str(last["seq"])).out == ""


# -- signal, cancel, delete, prune -----------------------------------------------------------------------------------


def test_a_payload_is_json_or_text(flujoctl: Flujoctl) -> None:
    """--json refuses text, and a final run refuses everything."""
    flujoctl("run", "gated.yaml", "--id", "g", "--no-wait")

    assert flujoctl("signal", "g", "approve", "{no", "--json").code == 2
    assert flujoctl("signal", "g", "approve", '{"ok": true}', "-q").out == ""
    assert json.loads(flujoctl("resume", "g", "-o", "json").out)["output"]["by"] == {"ok": True}
    assert flujoctl("signal", "g", "approve").code == 4
    assert flujoctl("signal", "g", "no name").code in (2, 4)


def test_cancel_of_a_run_nobody_runs(flujoctl: Flujoctl) -> None:
    """It is cancelled at once; twice is no mistake; a completed run is (4)."""
    flujoctl("run", "gated.yaml", "--id", "g", "--no-wait")
    flujoctl("run", "program_of_tests.py", "n=1", "--id", "done")

    assert flujoctl("cancel", "g", "--reason", "enough")[:2] == (0, "run g is cancelled\n")
    assert flujoctl("cancel", "g").code == 0
    assert "enough" in flujoctl("inspect", "g").out
    assert flujoctl("watch", "g").code == 8
    assert flujoctl("cancel", "done").code == 4
    assert flujoctl("cancel", "nobody").code == 3


def test_delete_takes_the_workspace_along(flujoctl: Flujoctl, folder: Path) -> None:
    """Several ids at a time, none is deleted unless all are found."""
    flujoctl("run", "flaky.yaml", "--id", "long-name")
    assert (folder / ".flujo" / "workspaces" / "long-name").is_dir()

    assert flujoctl("delete", "long-name", "absent").code == 3
    assert flujoctl("delete", "lon").code == 3
    assert flujoctl("delete", "long-name", "absent", "--ignore-missing").code == 0
    assert flujoctl("inspect", "long-name").code == 3
    assert list((folder / ".flujo" / "workspaces").glob("long-name*")) == []


def test_prune_wants_consent_where_nobody_can_be_asked(flujoctl: Flujoctl) -> None:
    """Unless there is nothing to prune; the names from other tools proceed."""
    for number in range(4):
        flujoctl("run", "program_of_tests.py", "n=1", "--id", f"r{number}")
    flujoctl("run", "flaky.yaml", "--id", "f")
    flujoctl("run", "gated.yaml", "--id", "g", "--no-wait")

    assert flujoctl("prune", "--older-than", "30d").code == 0
    assert flujoctl("prune", "--older-than", "0s").code == 2
    assert flujoctl("prune", "--older-than", "soon").code == 2
    assert len(flujoctl("prune", "--older-than", "0s", "--dry-run", "-o", "name").out.split()) == 5
    assert flujoctl("prune", "--older-than", "0s", "--status", "failed", "--yes", "-o", "name").out == "f\n"
    assert flujoctl("clean", "--workflow-id", "r0").code == 0
    assert flujoctl("clean").code == 2
    assert flujoctl("clean", "--status", "completed").code == 0
    assert flujoctl("lens", "prune", "--days-old", "0", "--status", "completed", "--yes").code == 0
    assert flujoctl("lens", "list", "-q").out == "g\n"
    assert "waiting" in flujoctl("lens", "show", "g").out
    assert flujoctl("lens", "delete", "g").code == 0


# -- the rest --------------------------------------------------------------------------------------------------------


def test_reading_never_makes_a_store(flujoctl: Flujoctl, folder: Path) -> None:
    """Nor do signal, cancel and delete."""
    for command in (["list"], ["inspect", "r"], ["watch", "r"], ["signal", "r", "s"], ["cancel", "r"], ["delete", "r"]):
        ended = flujoctl(*command)
        assert (ended.code, ended.out) == (3, ""), command
        assert ended.err.startswith("error[store-not-found]: sqlite:.flujo/state.db: there is no store here yet")
    assert list((folder / ".flujo").iterdir()) == []


def test_shared_options_are_taken_on_both_sides(flujoctl: Flujoctl, folder: Path) -> None:
    """Before and after the command, and behind a group."""
    flujoctl("run", "program_of_tests.py", "n=1", "--id", "r", "--store", "sqlite:other.db")

    assert flujoctl("--store", "sqlite:other.db", "-q", "list").out == "r\n"
    assert flujoctl("lens", "--store", "sqlite:other.db", "list", "-q").out == "r\n"
    assert flujoctl("version", "-o", "json").out.startswith("{")
    assert flujoctl("watch", "r", "-o", "yaml", "--store", "sqlite:other.db").code == 2


def test_a_file_that_is_no_store_is_left_alone(flujoctl: Flujoctl, folder: Path) -> None:
    """Exit code 4, and not a byte has changed."""
    (folder / "notes.db").write_text("these are notes", encoding="utf-8")

    assert flujoctl("list", "--store", "sqlite:notes.db").code == 5
    assert flujoctl("run", "flaky.yaml", "--store", "sqlite:notes.db").code == 5
    assert (folder / "notes.db").read_text(encoding="utf-8") == "these are notes"
    assert flujoctl("list", "--store", "notes.db").code == 2


def test_unexpected_errors_are_one_line(flujoctl: Flujoctl, monkeypatch: pytest.MonkeyPatch) -> None:
    """Exit code 70; -vv shows the traceback."""

    def explode(*arguments: object) -> None:
        raise RuntimeError("two\nlines")

    monkeypatch.setattr("flujo.cli.commands.version.platform.platform", explode)

    brief, full = flujoctl("version"), flujoctl("version", "-vv")

    assert (brief.code, full.code) == (70, 70)
    assert brief.err == "error[internal]: RuntimeError: two lines; run again with -vv for the traceback\n"
    assert "Traceback" in full.err


def test_usage_errors_point_to_the_help(flujoctl: Flujoctl) -> None:
    """Exit code 2."""
    for arguments in (["frobnicate"], ["list", "--frobnicate"], ["run"], ["list", "-o", "xml"]):
        ended = flujoctl(*arguments)
        assert (ended.code, ended.out) == (2, "")
        assert ended.err.splitlines()[-1].endswith("--help")


def test_validate_warns_of_a_result_that_may_be_missing(flujoctl: Flujoctl, folder: Path) -> None:
    """The file is valid all the same; the warning has its place and says what to write."""
    (folder / "warned.yaml").write_text(
        "name: warned\nsteps:\n  - {name: a, task: noop, on_error: continue}\n"
        "  - {name: b, task: echo, inputs: {message: '{{ steps.a.result }}'}}\n"
    )

    checked = flujoctl("validate", "warned.yaml")

    assert checked.code == 0
    assert "warning: warned.yaml:4:45: step `a` may have no result" in checked.err
    assert "1 file valid" in checked.err


def test_validate_knows_python_files_as_well(flujoctl: Flujoctl) -> None:
    """Valid files are counted; one that is absent is not found."""
    assert flujoctl("validate", "gated.yaml", "program_of_tests.py").code == 0
    assert flujoctl("validate", "absent.yaml").code == 3


def test_completion_scripts(flujoctl: Flujoctl) -> None:
    """For the shells click knows; bash is asked for its version, so zsh and fish stand for all."""
    for shell in ("zsh", "fish"):
        assert "_FLUJOCTL_COMPLETE" in flujoctl("completion", shell).out


def test_what_was_set_is_said_to_people_only(folder: Path, flujoctl: Flujoctl) -> None:
    """Not where quiet was asked for; programs read an object instead."""
    (folder / "gate.yaml").write_text("name: gate\nparams: {x: {default: 0}}\nsteps: [{name: go, task: wait_signal}]\n")
    flujoctl("run", "gate.yaml", "--id", "r", "--no-wait")

    assert flujoctl("set", "r", "x=1").out == "variable x of run r is set\n"
    assert flujoctl("set", "r", "x=2", "--quiet").out == ""
    answer = json.loads(flujoctl("set", "r", "x=3", "-o", "json").out)
    assert answer == {"run_id": "r", "variables": ["x"], "results": []}
