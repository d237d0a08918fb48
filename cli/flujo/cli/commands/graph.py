"""`flujoctl graph`: draw the steps of a workflow, or of a run with their states."""

from __future__ import annotations

import os

import click

from flujo.cli import graphs, sources
from flujo.cli.connect import reading
from flujo.cli.find_run import find_run
from flujo.cli.output import emit
from flujo.cli.session import Session, declare, run_async
from flujo.kernel import WorkflowState
from flujo.kernel.errors import FlujoError, RunNotFoundError, StoreNotFoundError
from flujo.kernel.programs import StepChoice


@declare("graph", formats=("table", "json", "jsonl", "yaml"))
@click.argument("target", metavar="FILE|ID")
@click.option(
    "--format",
    "drawing",
    metavar="FORMAT",
    type=click.Choice(["text", "mermaid", "dot", "svg"]),
    default="text",
    help="text (default), mermaid, dot for Graphviz, or svg for a picture",
)
@click.option("--flow", metavar="NAME", help="of a file: draw this flow of it; `all` for every step")
def command(session: Session, target: str, drawing: str, flow: str | None) -> int:
    """Draw which step waits for which, in a YAML file or in a run; in a run with the status of each step.

    A Python program decides as it goes: of its runs the steps are drawn that have begun.
    """
    is_file = _is_file(target)
    if flow is not None and not is_file:
        raise click.UsageError("--flow goes with a file; a run is drawn with the steps it was started with")
    name, nodes = _of_file(target, flow) if is_file else _of_run(session, target)
    if session.output != "table":
        emit(graphs.as_object(nodes, name), session.output)
    elif drawing == "mermaid":
        print(graphs.as_mermaid(nodes))
    elif drawing == "dot":
        print(graphs.as_dot(nodes, name))
    elif drawing == "svg":
        from flujo.cli.svg import as_svg

        print(as_svg(nodes, name))
    elif nodes:
        print(graphs.as_text(nodes, colour=session.has_colour))
    if not nodes:
        session.note("no step has begun yet")
    return 0


def _is_file(target: str) -> bool:
    return target.endswith((".yaml", ".yml")) or os.path.exists(target)


def _of_file(target: str, flow: str | None) -> tuple[str, list[graphs.Node]]:
    workflow = sources.load(target)
    if workflow.plan is None:
        raise click.UsageError(f"{target} is a program, which decides as it goes; draw one of its runs: graph ID")
    workflow = workflow.with_steps(StepChoice(flow))
    assert workflow.plan is not None
    return workflow.name, graphs.of_plan(workflow.plan, {})


def _of_run(session: Session, run_id: str) -> tuple[str, list[graphs.Node]]:
    async def read() -> WorkflowState:
        async with reading(session.target) as runs:
            return await runs.inspect(await find_run(runs, run_id))

    try:
        state = run_async(read)
    except (RunNotFoundError, StoreNotFoundError) as error:
        raise _neither(run_id, error) from error
    return state.workflow, graphs.of_run(state)


def _neither(target: str, error: FlujoError) -> FlujoError:
    """Return the error that there is neither a file nor a run of this name."""
    error.args = (f"there is no file {target}, and {error.message}",)
    return error
