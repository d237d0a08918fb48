"""Complete what a shell asks for: ids of runs, their steps and signals, workflows, their flows, files.

What a parameter takes is told by its metavar, so a command gets its completions by naming its parameters as all others
do. Looking must be quick and may fail: a shell is told nothing then, and no error is ever printed.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any

import click
from click.shell_completion import CompletionItem

from .session import Session, run_async

if TYPE_CHECKING:
    from flujo.kernel import StoredRuns

    ParamType = click.ParamType[Any]
else:
    ParamType = click.ParamType  # it has no parameter in older releases

MOST = 100
"""How many runs or workflows are offered at most, the newest runs first."""

SECONDS = 0.5
"""How long a store or a server is asked; a person who presses Tab waits no longer."""


class Completed(ParamType):
    """A text of which `offer` says what may stand there."""

    name = "text"

    def __init__(self, offer: Callable[[click.Context, str], Iterable[str | tuple[str, str]]]) -> None:
        self._offer = offer

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        return click.STRING.convert(value, param, ctx)

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        try:
            offered = [each if isinstance(each, tuple) else (each, "") for each in self._offer(ctx, incomplete)]
        except Exception:  # no store, a damaged one, no server: all of it is for a command to tell
            return []
        fitting = [(text, told) for text, told in offered if text.startswith(incomplete)]
        return [CompletionItem(text, help=told or None) for text, told in dict(fitting).items()]


def _ask(ctx: click.Context, question: Callable[[StoredRuns], Awaitable[Sequence[Any]]]) -> Sequence[Any]:
    """Return what the runs of the store or server answer that the words so far name; nothing after SECONDS."""
    import anyio

    from .connect import reading

    session = ctx.find_object(Session) or Session()

    async def ask() -> Sequence[Any]:
        with anyio.move_on_after(SECONDS):
            async with reading(session.target) as runs:
                return await question(runs)
        return []

    return run_async(ask)


def _run_ids(ctx: click.Context, incomplete: str) -> Iterable[tuple[str, str]]:
    from .find_run import NEWEST

    async def read(runs: StoredRuns) -> Sequence[tuple[str, str]]:
        page = await runs.list(id_prefix=incomplete or None, limit=MOST)
        found = [(run.run_id, f"{run.status} {run.workflow}") for run in page.runs]
        return [(NEWEST, "the newest run"), *found] if incomplete and NEWEST.startswith(incomplete) else found

    return _ask(ctx, read)


def _steps(ctx: click.Context, incomplete: str) -> Iterable[tuple[str, str]]:
    """Return the steps of the run that stands before, or of the file."""
    if (target := ctx.params.get("target")) is not None:
        from .sources import load

        return [(row[0], "") for row in load(target).plan or ()]
    from .find_run import find_run

    run_id = ctx.params.get("run_id")

    async def read(runs: StoredRuns) -> Sequence[tuple[str, str]]:
        state = await runs.inspect(await find_run(runs, str(run_id)))
        return [(step.name, step.status.value) for step in state.steps.values()]

    return _ask(ctx, read)


def _listed_steps(ctx: click.Context, incomplete: str) -> Iterable[str]:
    """Return a list of steps with each step of the file at its end that is not in it."""
    before, comma, _ = incomplete.rpartition(",")
    named = before.split(",")
    return [f"{before}{comma}{name}" for name, _ in _steps(ctx, "") if name not in named]


def _flows(ctx: click.Context, incomplete: str) -> Iterable[str]:
    """Return the flows of the file that stands before."""
    from flujo.kernel.programs import EVERY_STEP

    from .sources import flows_in

    flows = flows_in(str(ctx.params["target"]))
    return [*flows, EVERY_STEP] if flows else []


def _signals(ctx: click.Context, incomplete: str) -> Iterable[str]:
    """Return the signals that the run which stands before waits for."""
    from .find_run import find_run
    from .text import awaited_signals

    async def read(runs: StoredRuns) -> Sequence[str]:
        state = await runs.inspect(await find_run(runs, str(ctx.params["run_id"])))
        return awaited_signals(state)

    return _ask(ctx, read)


def _workflows(ctx: click.Context, incomplete: str) -> Iterable[str]:
    async def read(runs: StoredRuns) -> Sequence[str]:
        return [each.workflow for each in (await runs.stats(window_seconds=1)).workflows][:MOST]

    return _ask(ctx, read)


def _starters(ctx: click.Context, incomplete: str) -> Iterable[tuple[str, str]]:
    from .commands.init import available, summary_of

    return [(name, summary_of(path)) for name, path in available().items()]


RUN_ID, STEP, SIGNAL = Completed(_run_ids), Completed(_steps), Completed(_signals)
FILE = click.Path(path_type=str)

BY_METAVAR: dict[tuple[str, str], ParamType] = {
    ("run_id", "ID"): RUN_ID,
    ("run_ids", "ID..."): RUN_ID,
    ("run_ids", "[ID]..."): RUN_ID,
    ("run_id", "[ID]"): RUN_ID,
    ("parent", "ID"): RUN_ID,
    ("step", "STEP"): STEP,
    ("steps", "STEP"): STEP,
    ("step_name", "STEP"): STEP,
    ("from_step", "STEP"): STEP,
    ("start_from", "STEP"): STEP,
    ("skip_steps", "STEP,…"): Completed(_listed_steps),
    ("flow", "NAME"): Completed(_flows),
    ("name", "NAME"): SIGNAL,
    ("signal", "[SIGNAL]"): SIGNAL,
    ("workflow", "NAME"): Completed(_workflows),
    ("example", "NAME"): Completed(_starters),
    ("target", ""): FILE,
    ("targets", "[WORKFLOW]..."): FILE,
    ("files", "FILE..."): FILE,
}
"""What a parameter takes, by its name and its metavar. Those with a type of their own, a choice or a path, keep it."""


def complete_by_name(parameters: Iterable[click.Parameter]) -> None:
    """Give parameters that are plain texts the type that completes them."""
    for parameter in parameters:
        kind = BY_METAVAR.get((parameter.name or "", parameter.metavar or ""))
        if kind is not None and parameter.type is click.STRING:
            parameter.type = kind
