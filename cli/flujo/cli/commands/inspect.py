"""`flujoctl inspect`: show one run, its steps, and what to type next."""

from __future__ import annotations

import sys
from shlex import quote

import click

from flujo.cli import text
from flujo.cli.connect import reading
from flujo.cli.definition_texts import stored_definition
from flujo.cli.describing import Surroundings, described, surroundings_of
from flujo.cli.failures import SourceNotFoundError
from flujo.cli.find_run import find_run
from flujo.cli.output import emit, emit_run
from flujo.cli.pager import paged
from flujo.cli.repetition import find_repetition
from flujo.cli.session import Session, declare, is_terminal, run_async
from flujo.cli.shared_workspaces import note_shared_workspace
from flujo.kernel import RunStatus, StepState, StoredDefinition, StoredRuns, SystemClock, WorkflowState
from flujo.kernel.api import state_as_of
from flujo.kernel.durations import format_instant
from flujo.kernel.errors import StepNotFoundError
from flujo.kernel.programs import loop_of
from flujo.kernel.state import ITEMS, StepStatus
from flujo.kernel.transitions import summarize

ITEMS_SHOWN = 20
"""How many items of one loop are listed at most."""

NAMES_SHOWN = 5
"""How many steps a note names at most."""

HEAD = ("STEP", "STATUS", "ATTEMPT", "DURATION", "")


@declare("inspect")
@click.argument("run_id", metavar="ID")
@click.option("--step", "step_name", metavar="STEP", help="only this step, with its output and its error in full")
@click.option("--show-outputs", is_flag=True, help="also show the outputs of the steps")
@click.option(
    "--at", "seq", metavar="N", type=click.IntRange(1), help="as it stood after event N, which `events` lists"
)
@click.option("--definition", is_flag=True, help="only the text of the definition that it goes by")
def command(
    session: Session, run_id: str, step_name: str | None, show_outputs: bool, seq: int | None, definition: bool
) -> int:
    """Show a run: its status, its steps, and what it waits for.

    ID may be shortened to its first characters, or to its last four or more, if they match exactly one run;
    @last is the newest run.
    """
    if definition and (step_name is not None or show_outputs):
        raise click.UsageError("--definition shows a text alone; leave --step and --show-outputs out")
    if definition:
        read_definition = run_async(lambda: _read_definition(session, run_id, seq))
        with paged(session):
            return _show_definition(session, *read_definition)
    if seq is not None:
        state = run_async(lambda: _read_at(session, run_id, seq))
        return _show_past(session, state, step_name, show_outputs)

    async def read() -> tuple[WorkflowState, Surroundings, str | None]:
        async with reading(session.target) as runs:
            state = await runs.inspect(await find_run(runs, run_id))
            return state, await surroundings_of(runs, state), await _where_to_look(runs, state, step_name)

    state, around, look = run_async(read)
    is_idle, now = state.unowned, SystemClock().now()
    with paged(session):
        if step_name is not None:
            _show_step(session, state, step_name, now)
        elif not emit_run(state, session):
            _show_run(session, state, around, is_idle, now)
            if show_outputs:
                _show_outputs(state)
    if step_name is None and session.output == "table":
        _warn(session, state)
    if look is not None:
        session.suggest(look)
    _suggest(session, state, is_idle)
    return 0


async def _where_to_look(runs: StoredRuns, state: WorkflowState, step_name: str | None) -> str | None:
    """Return the command that shows more of the failure of a run, or of the step that is shown."""
    name = step_name or state.failed_step
    step = state.steps.get(name or "")
    if step is None or step.status is not StepStatus.FAILED:
        return None
    from flujo.cli.foreground import where_to_look  # what most looks at a run have no need of
    from flujo.cli.hearing import last_lines

    return where_to_look(state, step, await last_lines(runs, state, step.name))


async def _read_at(session: Session, given: str, seq: int) -> WorkflowState:
    async with reading(session.target) as runs:
        return await state_as_of(runs, await find_run(runs, given), seq)


def _show_past(session: Session, state: WorkflowState, step_name: str | None, show_outputs: bool) -> int:
    """Show a run as it stood. What is to be typed, and who runs it, is of now, and not shown."""
    with paged(session):
        if step_name is not None:
            _show_step(session, state, step_name, state.updated_at)
        elif not emit_run(state, session):
            _show_run(session, state, Surroundings(summarize(state, None, 0)), False, state.updated_at)
            if show_outputs:
                _show_outputs(state)
    session.note(f"as it stood after event {state.seq}, {format_instant(state.updated_at)}")
    return 0


async def _read_definition(
    session: Session, given: str, seq: int | None
) -> tuple[WorkflowState, StoredDefinition | None]:
    async with reading(session.target) as runs:
        found = await find_run(runs, given)
        state = await (runs.inspect(found) if seq is None else state_as_of(runs, found, seq))
        return state, await stored_definition(runs, state)


def _show_definition(session: Session, state: WorkflowState, stored: StoredDefinition | None) -> int:
    if state.definition is None:
        raise SourceNotFoundError(
            f"run {state.run_id!r} has no definition: its workflow is a Python function",
            [f"flujoctl inspect {state.run_id}"],
        )
    if stored is None:
        raise SourceNotFoundError(
            f"the definition {state.definition} that run {state.run_id!r} had is not to be had here",
            [f"flujoctl inspect {state.run_id} --definition  # the one that it has now"],
        )
    if session.output == "name":
        print(stored.digest)
    elif session.output != "table":
        emit(stored._asdict(), session.output)
    else:
        shown = "\n".join(map(text.printable, stored.text.splitlines())) if sys.stdout.isatty() else stored.text
        sys.stdout.write(shown if shown.endswith("\n") else f"{shown}\n")
    return 0


def _show_run(session: Session, state: WorkflowState, around: Surroundings, is_idle: bool, now: int) -> None:
    colour = session.has_colour
    word = text.coloured(text.status_word(state.status, interrupted=is_idle), colour=colour)
    print(f"{'run':<11}{state.run_id}\n{'status':<11}{word}")
    relative, wide = is_terminal(sys.stdout), session.is_wide
    for name, value in described(state, around, now, time=session.time, relative=relative, wide=wide):
        if value:
            print(f"{name:<11}{text.printable(value)}")
    if state.steps:
        shown, left_out = (list(state.steps.values()), 0) if wide else _shown_steps(state)
        print()
        print(text.table(HEAD, [text.step_row(step, now) for step in shown], status=1, colour=colour))
        if left_out:
            print(f"\n{left_out} items are not listed; --step 'NAME[0]' shows one, -o json all")


def _shown_steps(state: WorkflowState) -> tuple[list[StepState], int]:
    """Return the steps that are listed, and how many are not: of a loop with many items those that have completed, and
    of the others all but the first."""
    items: dict[str, list[StepState]] = {}
    for step in state.steps.values():
        loop = state.steps.get(loop_of(step.name) or "")
        if loop is not None and loop.kind == ITEMS:
            items.setdefault(loop.name, []).append(step)
    hidden: set[str] = set()
    for members in items.values():
        if len(members) > ITEMS_SHOWN:
            others = [step for step in members if not step.is_completed]
            hidden.update(step.name for step in members if step.is_completed)
            hidden.update(step.name for step in others[ITEMS_SHOWN:])
    return [step for step in state.steps.values() if step.name not in hidden], len(hidden)


def _show_outputs(state: WorkflowState) -> None:
    print()
    for step in state.steps.values():
        if step.output_json is not None:
            print(f"{step.name}: {text.value(step.output, None)}")


def _show_step(session: Session, state: WorkflowState, name: str, now: int) -> None:
    if (step := state.steps.get(name)) is None:
        raise StepNotFoundError(state.run_id, name, list(state.steps))
    if session.output == "name":
        print(step.name)
    elif session.output != "table":
        emit(step.to_dict(), session.output)
    else:
        _print_step(step, now, colour=session.has_colour)


def _print_step(step: StepState, now: int, *, colour: bool) -> None:
    print(text.table(HEAD, [text.step_row(step, now)], status=1, colour=colour))
    if step.redacted:
        print("redacted: secrets were cut out of what is recorded and logged of it; *** stands for each")
    for line in text.cut_steps([step]):
        print(line)
    if step.output_json is not None:
        print(f"output: {text.value(step.output, None)}")
    if step.error is not None:
        print(f"error: {text.printable(step.error.type)}: {_lines(step.error.message)}")
        if step.error.details:
            print(_lines(step.error.details))


def _lines(recorded: str) -> str:
    """Return a recorded text of several lines, each without control characters."""
    return "\n".join(text.printable(line) for line in recorded.splitlines())


def _warn(session: Session, state: WorkflowState) -> None:
    """Say what deserves a look although nothing has failed."""
    if (repetition := find_repetition(state)) is not None:
        session.note(repetition.sentence)
    for line in text.cut_steps(state.steps.values()):
        session.note(line)
    if redacted := [step.name for step in state.steps.values() if step.redacted]:
        named = ", ".join(redacted[:NAMES_SHOWN]) + (" …" if len(redacted) > NAMES_SHOWN else "")
        session.note(f"secrets were cut out of what is recorded and logged of {named}; *** stands for each")
    note_shared_workspace(session, state)


def _suggest(session: Session, state: WorkflowState, is_idle: bool) -> None:
    """Print the commands that advance the run, if it does not advance by itself."""
    for signal in text.awaited_signals(state):
        session.suggest(f"flujoctl signal {state.run_id} {quote(signal)}")
    if is_idle:
        session.note("no process runs this run")
    if is_idle or state.status in (RunStatus.FAILED, RunStatus.PAUSED, RunStatus.CANCELLED):
        from flujo.cli.going_on import suggest_resuming  # what most looks at a run have no need of

        suggest_resuming(session, state)
