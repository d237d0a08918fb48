"""Which runs `list`, `stats` and `prune` are about: their options, on a real store."""

from __future__ import annotations

import json
import shlex
import signal
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml

import foreground
from cli.conftest import Copied, Flujoctl
from flujo.cli import counting, pruning, session
from flujo.cli.inputs import parse_instant
from flujo.kernel import Observer

PROGRAM = """\
from flujo.kernel import Context, step, workflow

@step
def check(n: int) -> int:
    if n == 3:
        raise ValueError("three")
    return n

@workflow(name="job")
async def job(ctx: Context, n: int) -> int:
    return await ctx.step(check, n)

@workflow(name="waiting")
async def waiting(ctx: Context) -> None:
    await ctx.wait_signal("go")

@workflow(name="parent")
async def parent(ctx: Context) -> int:
    return await ctx.run_child(job, {"n": 1})
"""


@pytest.fixture(autouse=True)
def program(folder: Path) -> None:
    """The workflows of these tests."""
    (folder / "choosing_program_of_tests.py").write_text(PROGRAM, encoding="utf-8")


@pytest.fixture
def four_runs(copied: Copied) -> None:
    """`job-1` to `job-4`, of which the third has failed."""
    copied(fill)


def fill(flujoctl: Flujoctl) -> None:
    """Make those runs."""
    Path("choosing_program_of_tests.py").write_text(PROGRAM, encoding="utf-8")
    for n in range(1, 5):
        team = f"team={'even' if n % 2 == 0 else 'odd'}"
        flujoctl("run", "choosing_program_of_tests.py:job", f"n={n}", "--id", f"job-{n}", "--label", team)


def wait_for_a_signal(flujoctl: Flujoctl) -> None:
    """A run `w` that nobody runs, and that waits."""
    assert flujoctl("run", "choosing_program_of_tests.py:waiting", "--id", "w", "--no-wait").code == 7


# -- list ----------------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("four_runs")
@pytest.mark.parametrize(
    ("options", "found"),
    [
        ("", "w job-4 job-3 job-2 job-1"),
        ("--id-prefix job-", "job-4 job-3 job-2 job-1"),
        ("--failed-step check", "job-3"),
        ("--label team=even --status completed", "job-4 job-2"),
        ("--since 1h --finished-since 1h --workflow job", "job-4 job-3 job-2 job-1"),
        ("--until 1h", ""),
        ("--since 9999-12-31", ""),
        ("--updated-since 2000-01-01T00:00Z --until 9999-01-01", "w job-4 job-3 job-2 job-1"),
        ("--finished-until 9999-01-01 --label team=odd", "job-3 job-1"),
        ("--idle 0s", "w"),
        ("--idle 1h", ""),
        ("--idle 9999-01-01 --status waiting", "w"),
        ("--parent w", ""),
        ("--sort updated", "w job-4 job-3 job-2 job-1"),
    ],
)
def test_list_chooses_by_its_options(flujoctl: Flujoctl, options: str, found: str) -> None:
    """Together they choose less; --count says how many."""
    wait_for_a_signal(flujoctl)

    assert flujoctl("list", "-q", *options.split()).out.split() == found.split()
    assert flujoctl("list", "--count", *options.split()).out == f"{len(found.split())}\n"


def test_list_shows_what_a_run_has_started(flujoctl: Flujoctl) -> None:
    """--parent takes the id of a run; --count as JSON is an object."""
    flujoctl("run", "choosing_program_of_tests.py:parent", "--id", "p")

    children = flujoctl("list", "-q", "--parent", "p").out.split()
    assert len(children) == 1
    assert json.loads(flujoctl("list", "--count", "--parent", "p", "-o", "json").out) == {"count": 1}


@pytest.mark.usefixtures("four_runs")
def test_the_next_page_is_a_command_that_works_as_it_is_printed(flujoctl: Flujoctl) -> None:
    """All options are in it, and what was counted from now has become an instant."""
    options = [
        *("--since", "1h", "--until", "0s", "--updated-since", "2h", "--finished-since", "3h"),
        *("--finished-until", "0s", "--status", "completed", "--status", "failed", "--workflow", "job"),
        *("--id-prefix", "job-", "--label", "team=odd", "--sort", "updated", "--limit", "1"),
    ]
    first = flujoctl("list", "-q", *options[:-2], "--limit", "1", "-o", "name")
    noted = flujoctl("list", *options, "-o", "name")
    command = next(line for line in noted.err.splitlines() if line.startswith("try: flujoctl "))
    following = flujoctl(*shlex.split(command.removeprefix("try: flujoctl ")), "-o", "name")

    assert (first.out, first.err) == ("job-3\n", "")
    assert (noted.out, following.out) == ("job-3\n", "job-1\n")
    assert "there are more" not in following.err
    failing = flujoctl("list", "--failed-step", "check", "--parent", "p", "--limit", "1")
    assert (failing.code, failing.err) == (0, "")


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ("--since 1h --until 2h", "no run can match --since and --until"),
        ("--finished-since 1h --finished-until 1h30m", "no run can match --finished-since and --finished-until"),
        ("--updated-since 1h --idle 2h", "no run can match --updated-since and --idle"),
        ("--idle 2h --status waiting --status failed", "leave --status failed out"),
        ("--idle 2h --finished-since 1d", "leave --finished-since out"),
        ("--all --limit 3", "leave --limit out"),
        ("--all --page x", "leave --page out"),
        ("--count --page x", "leave --page out"),
        ("--since soon", "--since: 'soon' is neither an age"),
        ("--idle 2026-13-01", "--idle: '2026-13-01' is neither"),
        ("--sort size", "'size' is not one of"),
    ],
)
def test_options_that_contradict_each_other_are_refused(flujoctl: Flujoctl, options: str, says: str) -> None:
    """Exit code 2, and the message names the options."""
    ended = flujoctl("list", *options.split())

    assert (ended.code, ended.out) == (2, "")
    assert says in ended.err


def test_an_instant_is_how_long_ago_or_a_moment() -> None:
    """Without a zone it is local time."""
    now = datetime(2026, 11, 25, 12, tzinfo=UTC)
    micros = round(now.timestamp() * 1_000_000)

    def parsed(text: str) -> timedelta:
        return timedelta(microseconds=parse_instant(text, micros, "--since") - micros)

    assert parsed("90") == -timedelta(seconds=90)
    assert parsed("2h") == -timedelta(hours=2)
    assert parsed("2026-11-25T13:00+01:00") == timedelta(0)
    assert parsed("2026-11-25T11:00:00.000001Z") == -timedelta(hours=1) + timedelta(microseconds=1)
    assert parsed("2026-11-25") == datetime(2026, 11, 25).astimezone() - now
    assert parsed("2026-11-25T00:00:00.000007") == datetime(2026, 11, 25, microsecond=7).astimezone() - now


@pytest.mark.parametrize("zone", ["UTC", "Etc/GMT-14", "America/New_York", "Europe/London"])
def test_local_time_is_read_in_every_zone(monkeypatch: pytest.MonkeyPatch, zone: str) -> None:
    """Also on the day on which clocks go back, and on the last day but one that there is."""
    monkeypatch.setenv("TZ", zone)
    time.tzset()
    try:
        for moment in (datetime(2026, 11, 1, 1, 30), datetime(2026, 10, 25, 1, 30), datetime(9999, 12, 30)):
            micros = (moment.astimezone(UTC) - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)

            assert parse_instant(moment.isoformat(), 0, "--since") == micros
    finally:
        monkeypatch.undo()
        time.tzset()


# -- stats ---------------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("four_runs")
def test_stats_add_up_by_workflow(flujoctl: Flujoctl) -> None:
    """A row for each workflow, and below the steps that fail and take long."""
    wait_for_a_signal(flujoctl)

    shown = flujoctl("stats")
    first, second, third = (table.splitlines() for table in shown.out.split("\n\n"))

    assert first[0].split()[:5] == ["WORKFLOW", "STORED", "LIVE", "PAUSED", "CREATED"]
    assert first[1].split()[:10] == ["job", "4", "0", "0", "4", "4", "25", "%", "0", "%"]
    assert first[2].split() == ["waiting", "1", "1", "0", "1", "0", "-", "-", "-", "-", "-"]
    assert [line.split() for line in second] == [["WORKFLOW", "FAILING", "STEP", "RUNS"], ["job", "check", "1"]]
    assert third[1].split()[:2] == ["job", "check"]
    assert third[1].split()[-1] == "3"
    assert shown.err == "the window is the last 1d\n"


@pytest.mark.usefixtures("four_runs")
def test_stats_as_data(flujoctl: Flujoctl) -> None:
    """One object in json and yaml, a line for each workflow in jsonl, and the name that others know."""
    whole = json.loads(flujoctl("stats", "--window", "2h", "--workflow", "job", "-o", "json").out)
    lines = flujoctl("lens", "stats", "-o", "jsonl").out.splitlines()

    (job,) = whole["workflows"]
    assert (job["runs"], job["ended"]) == ({"completed": 3, "failed": 1}, {"completed": 3, "failed": 1})
    assert (job["failure_rate"], job["failing_steps"], job["sampled"]) == (0.25, {"check": 1}, 3)
    assert [step["step"] for step in job["slowest_steps"]] == ["check"]
    since, until = (datetime.fromisoformat(whole[name]) for name in ("since", "until"))
    assert until - since == timedelta(hours=2)
    assert [json.loads(line) for line in lines] == [job]
    assert yaml.safe_load(flujoctl("stats", "-o", "yaml").out)["workflows"] == [job]
    assert json.loads(flujoctl("stats", "--workflow", "absent", "-o", "json").out)["workflows"] == []
    assert flujoctl("stats", "--window", "soon").code == 2


# -- prune ---------------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("four_runs")
@pytest.mark.parametrize(
    ("options", "gone"),
    [
        ("--older-than 0s", "job-1 job-2 job-3 job-4"),
        ("--older-than 1h", ""),
        ("--keep-last 1", "job-1 job-2 job-3"),
        ("--keep-last 1 --status completed", "job-1 job-2"),
        ("--label team=odd", "job-1 job-3"),
        ("--id-prefix job-2", "job-2"),
        ("--workflow waiting", ""),
    ],
)
def test_prune_chooses_by_its_options(flujoctl: Flujoctl, options: str, gone: str) -> None:
    """A dry run foretells exactly what goes, under every name of the command."""
    foretold = flujoctl("prune", *options.split(), "--dry-run", "-o", "name").out.split()
    others = flujoctl("clean", *options.split(), "--dry-run", "-o", "jsonl").out.splitlines()
    pruned = flujoctl("prune", *options.split(), "--yes", "-o", "name").out.split()

    assert foretold == pruned == [json.loads(line)["run_id"] for line in others] == gone.split()
    assert set(flujoctl("list", "-q").out.split()) == {f"job-{n}" for n in range(1, 5)} - set(gone.split())


@pytest.mark.usefixtures("four_runs")
def test_a_dry_run_counts_what_goes_and_what_stays(flujoctl: Flujoctl, monkeypatch: pytest.MonkeyPatch) -> None:
    """How many, how large, and a sample; live runs of that age stay, and so do paused ones until they are asked for."""
    wait_for_a_signal(flujoctl)
    flujoctl("run", "choosing_program_of_tests.py:waiting", "--id", "paused", "--no-wait")
    flujoctl("pause", "paused")
    monkeypatch.setattr(pruning, "_SHOWN", 2)

    shown = flujoctl("prune", "--older-than", "0", "--dry-run")
    with_paused = flujoctl("prune", "--older-than", "0", "--status", "paused", "--dry-run")

    assert shown.out.splitlines()[0].split() == ["ID", "WORKFLOW", "STATUS"]
    assert [line.split()[0] for line in shown.out.splitlines()[1:]] == ["job-1", "job-2"]
    amount, listed, paused, live = shown.err.splitlines()
    assert amount.startswith("4 runs (")
    assert amount.endswith((" bytes) would be deleted", " KiB) would be deleted"))
    assert listed == "only the 2 runs that ended first are listed"
    assert paused == "kept 1 paused run of that age; --status paused includes them"
    assert live == "kept 1 run of that age that is still active"
    assert with_paused.err.startswith("1 run (")


@pytest.mark.usefixtures("four_runs")
def test_a_dry_run_for_programs_lists_as_many_as_an_answer_holds(
    flujoctl: Flujoctl, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And says that there are more."""
    monkeypatch.setattr(pruning, "LISTED", 3)

    shown = flujoctl("prune", "--older-than", "0", "--dry-run", "-o", "name")

    assert shown.out.split() == ["job-1", "job-2", "job-3"]
    assert shown.err.splitlines()[1] == "only the 3 runs that ended first are listed"


def test_prune_has_to_be_told_which_runs(flujoctl: Flujoctl) -> None:
    """No option is no choice, and a choice that cannot be read is refused before anything goes."""
    for options in ([], ["--yes"], ["--dry-run"], ["--keep-last", "0"], ["--label", "x"], ["--older-than", "soon"]):
        ended = flujoctl("prune", *options)
        assert (ended.code, ended.out) == (2, ""), options
    assert flujoctl("lens", "prune", "--yes").code == 2
    assert flujoctl("clean", "--workflow-id", "r", "--keep-last", "1").code == 2


@pytest.mark.usefixtures("four_runs")
def test_a_prune_that_is_interrupted_says_how_many_went(flujoctl: Flujoctl, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C lets the batch under way end, and the others stay."""
    prune = Observer.prune

    async def interrupted(observer: Observer, **options: Any) -> Any:
        pruned = await prune(observer, **options)
        if not options.get("dry_run"):
            signal.raise_signal(signal.SIGINT)
        return pruned

    monkeypatch.setattr(Observer, "prune", interrupted)
    monkeypatch.setattr(pruning, "LISTED", 1)
    with foreground.listening():
        ended = flujoctl("prune", "--older-than", "0", "--yes", "-o", "name")

    assert (ended.code, ended.out) == (130, "job-1\n")
    assert ended.err.startswith("interrupted: 1 run (")
    assert flujoctl("list", "-q").out.split() == ["job-4", "job-3", "job-2"]


@pytest.mark.usefixtures("four_runs")
def test_a_long_prune_shows_how_far_it_is(flujoctl: Flujoctl, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a terminal the count is redrawn; what is printed in the end is the same as elsewhere."""
    monkeypatch.setattr(pruning, "_CALL_RUNS", 1)
    monkeypatch.setattr(session, "is_terminal", lambda stream: True)
    monkeypatch.setattr(counting, "_MANY", 1)
    monkeypatch.setenv("FORCE_COLOR", "1")
    ended = flujoctl("prune", "--older-than", "0", "--yes")

    assert ended.code == 0
    assert "3 runs" in ended.err
    assert "4 runs (" in ended.err.splitlines()[-1]
