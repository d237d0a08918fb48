"""Choose runs by what is known of them: the options of `list`, and of every command that acts on many runs at once.

A command that takes them has a parameter `choice` instead of one for each option.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import wraps
from shlex import quote
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import click

from flujo.kernel.clock import SystemClock
from flujo.kernel.durations import format_instant
from flujo.kernel.state import LIVE, RunStatus

from . import text
from .connect import reading
from .find_run import every_run, find_run
from .inputs import parse_instant, parse_labels
from .output import emit_all
from .session import Session, say
from .usage import NoRunsNamed

if TYPE_CHECKING:
    from flujo.kernel import RunSummary
    from flujo.kernel.backend import RunQuery

SHOWN = 20
"""How many runs the table of a dry run shows."""

INSTANTS = {
    "since": "created_from",
    "until": "created_before",
    "updated_since": "updated_from",
    "finished_since": "finished_from",
    "finished_until": "finished_before",
    "idle": "updated_before",
}
"""The options that take an instant, by the part of the filter each stands for."""


@dataclass(frozen=True, kw_only=True)
class RunChoice:
    """Which runs the options ask for. Ages are instants, in microseconds, counted from when the command began."""

    statuses: Sequence[str]
    workflow: str | None
    labels: Sequence[str]
    id_prefix: str | None
    failed_step: str | None
    parent: str | None
    instants: Mapping[str, int]
    takes_all: bool = False

    @property
    def wanted(self) -> RunQuery:
        """Return the filter as keywords of `Runs.list`."""
        instants: Any = {INSTANTS[option]: instant for option, instant in self.instants.items()}
        wanted = dict[str, Any](
            statuses=self.statuses or (sorted(LIVE) if "idle" in self.instants else ()),
            workflow=self.workflow,
            labels=parse_labels(self.labels),
            id_prefix=self.id_prefix,
            failed_step=self.failed_step,
            parent_run_id=self.parent,
        )
        return cast("RunQuery", {**wanted, **instants})

    @property
    def is_open(self) -> bool:
        """True if no option was given, so that every run fits."""
        return not list(self.options())

    def options(self) -> Iterator[str]:
        """Yield the options as they are typed; ages become instants, which stay the same."""
        for status in self.statuses:
            yield f"--status {status}"
        yield from self.options_but_statuses()

    def options_but_statuses(self) -> Iterator[str]:
        """Yield the same without --status, for runs that have another one now."""
        for name in ("workflow", "id_prefix", "failed_step", "parent"):
            if (value := getattr(self, name)) is not None:
                yield f"--{name.replace('_', '-')} {quote(value)}"
        if self.takes_all:
            yield "--all"
        for label in self.labels:
            yield f"--label {quote(label)}"
        for option, instant in self.instants.items():
            yield f"--{option.replace('_', '-')} {format_instant(instant)}"


def choosing(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options that choose runs to a command, whose function gets them as one argument, `choice`."""

    @wraps(function)
    def with_choice(*args: Any, pipeline: str | None, workflow: str | None, **options: Any) -> Any:
        now = SystemClock().now()
        moments = {name: options.pop(name) for name in INSTANTS}
        instants = {
            name: parse_instant(moment, now, f"--{name.replace('_', '-')}")
            for name, moment in moments.items()
            if moment is not None
        }
        parts = {name: options.pop(name) for name in ("statuses", "labels", "id_prefix", "failed_step", "parent")}
        choice = RunChoice(workflow=workflow or pipeline, instants=instants, **parts)
        _refuse_empty(choice)
        return function(*args, choice=choice, **options)

    for option in reversed(_OPTIONS):
        with_choice = option(with_choice)
    return with_choice


def _instant(name: str, help: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    return click.option(name, metavar="WHEN", help=help)


_OPTIONS = (
    click.option(
        "--status",
        "statuses",
        metavar="STATUS",
        type=click.Choice([str(status) for status in RunStatus]),
        multiple=True,
        help="only runs with this status",
    ),
    click.option("--workflow", metavar="NAME", help="only runs of this workflow"),
    click.option("--pipeline", metavar="NAME", hidden=True),
    click.option("-l", "--label", "labels", metavar="NAME=TEXT", multiple=True, help="only runs with this label"),
    click.option("--id-prefix", metavar="TEXT", help="only runs whose ids begin with TEXT"),
    _instant("--since", "only runs created at WHEN or later"),
    _instant("--until", "only runs created before WHEN"),
    _instant("--updated-since", "only runs with an event at WHEN or later"),
    _instant("--finished-since", "only runs that ended at WHEN or later"),
    _instant("--finished-until", "only runs that ended before WHEN"),
    _instant("--idle", "only unfinished runs without an event since WHEN"),
    click.option("--failed-step", metavar="STEP", help="only runs that failed in this step"),
    click.option("--parent", metavar="ID", help="only runs that this run has started"),
)


def _refuse_empty(choice: RunChoice) -> None:
    """Raise click.UsageError for a filter that can match no run."""
    instants = choice.instants
    for first, last in (("since", "until"), ("finished_since", "finished_until"), ("updated_since", "idle")):
        if first in instants and last in instants and instants[first] >= instants[last]:
            options = f"--{first} and --{last}".replace("_", "-")
            raise click.UsageError(f"no run can match {options}; the first must be the earlier one")
    if "idle" not in instants:
        return
    if ended := [status for status in choice.statuses if status not in LIVE]:
        raise click.UsageError(f"--idle lists unfinished runs; leave --status {ended[0]} out")
    for option in ("finished_since", "finished_until"):
        if option in instants:
            raise click.UsageError(f"--idle lists unfinished runs; leave --{option.replace('_', '-')} out")


# -- acting on many runs ----------------------------------------------------------------------------------------------


class Verb(NamedTuple):
    """What a command does to runs, as a question to a person begins, and the statuses in which it does it.

    Without --status it does it to those in `by_default`, with `only_unowned` if no process runs them."""

    word: str
    statuses: Sequence[RunStatus]
    by_default: Sequence[RunStatus] | None = None
    only_unowned: bool = False


class Named(NamedTuple):
    """The runs that a command line names: by ids, or by a choice, which `is_dry` only shows and `is_sure` confirms."""

    run_ids: Sequence[str]
    choice: RunChoice
    is_dry: bool
    is_sure: bool

    @property
    def is_one(self) -> bool:
        """True if a single run is named by its id, which is followed then."""
        return len(self.run_ids) == 1 and self.choice.is_open and not self.is_dry


def naming(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add ids and the options that choose runs to a command, whose function gets them as one argument, `named`."""
    return click.argument("run_ids", metavar="[ID]...", nargs=-1)(naming_without_ids(function))


def naming_without_ids(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add the same but for the ids, to a command that has an argument of its own for them."""

    @wraps(function)
    def with_named(*args: Any, choice: RunChoice, dry_run: bool, yes: bool, takes_all: bool, **rest: Any) -> Any:
        chosen = replace(choice, takes_all=takes_all)
        return function(*args, named=Named(tuple(rest.pop("run_ids", ())), chosen, dry_run, yes), **rest)

    with_named = click.option("--all", "takes_all", is_flag=True, help="every run that this can be done to")(with_named)
    with_named = click.option("--yes", "-y", is_flag=True, help="do not ask before acting on chosen runs")(with_named)
    with_named = click.option("--dry-run", is_flag=True, help="show the runs, do nothing to them")(with_named)
    return choosing(with_named)


def shifted(named: Named, *words: str | None) -> tuple[str | None, ...]:
    """Return the words behind the options: without the ID, which is left out where options choose the runs.

    Raises click.UsageError for a word too many."""
    if named.choice.is_open:
        return words
    if words[-1] is not None:
        raise click.UsageError(f"runs are chosen by options; leave the ID {words[0]!r} out")
    return (None, *words[:-1])


async def runs_named(session: Session, named: Named, verb: Verb) -> Sequence[str]:
    """Return the ids of the runs to act on; none if they are only to be shown, or a person has said no.

    Raises click.UsageError if no run is named at all, or in both ways, or there is nobody to ask."""
    return [run.run_id for run in await _found(session, named, verb)]


async def filter_named(session: Session, named: Named, verb: Verb) -> RunQuery | None:
    """Return the filter by which the runs to act on are chosen, which finds none that was created since they were
    counted; None if there is none, or they are only to be shown, or a person has said no. Raises click.UsageError."""
    found = await _found(session, named, verb)
    if not found:
        return None
    wanted = _wanted(named.choice, verb)
    wanted["created_before"] = max(run.created_at for run in found) + 1
    return wanted


async def _found(session: Session, named: Named, verb: Verb) -> Sequence[RunSummary]:
    """Return the runs to act on, those that were created last first."""
    async with reading(session.target) as runs:
        if named.run_ids:
            if not named.choice.is_open:
                raise click.UsageError("name runs by their ids or choose them by options, not both")
            found = [await runs.summary(await find_run(runs, run_id)) for run_id in named.run_ids]
        else:
            wanted = _wanted(named.choice, verb)
            found = [run async for run in every_run(runs, **wanted)]
            if verb.only_unowned:
                found = [run for run in found if run.status not in LIVE or await runs.is_interrupted(run)]
    if named.is_dry:
        _show(session, found, verb)
        return []
    if not named.run_ids and not _may_go_on(session, found, named, verb):
        return []
    return found


def _wanted(choice: RunChoice, verb: Verb) -> RunQuery:
    if choice.is_open:
        raise NoRunsNamed(
            "no runs are named: give their ids, or choose them by --status, --workflow, --label, --id-prefix, an age "
            "or --all"
        )
    if others := [status for status in choice.statuses if status not in verb.statuses]:
        raise click.UsageError(
            f"{verb.word.lower()} does nothing to {others[0]} runs; it is for those that are {', '.join(verb.statuses)}"
        )
    wanted = choice.wanted
    wanted["statuses"] = wanted.get("statuses") or verb.by_default or verb.statuses
    return wanted


def _may_go_on(session: Session, found: Sequence[RunSummary], named: Named, verb: Verb) -> bool:
    """True if there are runs, and consent to act on that many."""
    from .pruning import Consent

    if not found:
        session.note("no run matches")
        return False
    consent = Consent.of(named.is_sure)
    if consent is Consent.GIVEN or consent.ask(f"{verb.word} {_number(found)}?"):
        return True
    say("nothing was done")
    return False


def _show(session: Session, found: Sequence[RunSummary], verb: Verb) -> None:
    if session.output == "name":
        for run in found:
            print(run.run_id)
    elif session.output != "table":
        emit_all([text.summary_object(run, interrupted=False) for run in found], session.output)
    elif found:
        rows = [[run.run_id, run.workflow, run.status] for run in found[:SHOWN]]
        print(text.table(("ID", "WORKFLOW", "STATUS"), rows, status=2, colour=session.has_colour))
    shown = f"; the newest {SHOWN} are shown" if session.output == "table" and len(found) > SHOWN else ""
    session.note(f"{verb.word.lower()} would act on {_number(found)}{shown}")


def _number(runs: Sequence[RunSummary]) -> str:
    return f"{len(runs)} run" if len(runs) == 1 else f"{len(runs)} runs"
