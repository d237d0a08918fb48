"""`flujoctl run`: start a run of a workflow, or resume its unfinished one, and stay until it rests."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from shlex import quote
from typing import Any, NamedTuple

import click

from flujo.cli import sources, text
from flujo.cli.connect import reading
from flujo.cli.failures import AmbiguousRunError
from flujo.cli.find_run import refuse_active, run_to_resume
from flujo.cli.foreground import advance, detach
from flujo.cli.inputs import parse_inputs, parse_labels, parse_steps
from flujo.cli.nearest import refuse_command_for_file
from flujo.cli.output import emit
from flujo.cli.previewing import preview_lines
from flujo.cli.resume_run import resume_run
from flujo.cli.session import Session, declare, run_async
from flujo.cli.shared_workspaces import holds_files, note_earlier_files
from flujo.cli.target import ServerTarget, is_shared
from flujo.kernel import Kernel, RunHandle, Runs, Workflow
from flujo.kernel.api import ResumeOptions, Start
from flujo.kernel.clock import Identifiers, SystemClock
from flujo.kernel.errors import InvalidInputError, RunOverlapError, StateIncompatibilityError, StepChoiceError
from flujo.kernel.keys import check_run_id
from flujo.kernel.programs import Overlap, StepChoice


class RunRequest(NamedTuple):
    """A run as the command line asks for it."""

    target: str
    workflow: Workflow | str  # a name, if the server has it
    inputs: dict[str, Any]
    run_id: str | None
    labels: dict[str, str]
    choice: StepChoice
    no_wait: bool
    timeout: str | None = None

    @property
    def name(self) -> str:
        """Return the name of the workflow."""
        return self.workflow if isinstance(self.workflow, str) else self.workflow.name


@declare("run")
@click.argument("target")
@click.argument("assignments", metavar="[NAME=TEXT]...", nargs=-1)
@click.option("-p", "--param", "parameters", metavar="NAME=TEXT", multiple=True, help="an input; NAME:=JSON for JSON")
@click.option(
    "--params-file", metavar="FILE", type=click.Path(path_type=Path), help="inputs from a YAML or JSON file; - is stdin"
)
@click.option("--id", "run_id", metavar="ID", help="the id of the run; attaches to an existing run with this id")
@click.option("-l", "--label", "labels", metavar="NAME=TEXT", multiple=True, help="a label to find the run by")
@click.option(
    "--workspace", metavar="DIR", type=click.Path(path_type=Path), help="work in this folder, which flujo never deletes"
)
@click.option(
    "--timeout", metavar="DURATION", help="let the run fail when it takes longer, from its start and from each resume"
)
@click.option("--wait/--no-wait", default=True, help="stay while the run waits (default), or end with 7")
@click.option(
    "-d", "--detach", is_flag=True, help="leave the run to a server, or to the kernels of the store, and return"
)
@click.option("--resume", is_flag=True, help="resume the one unfinished run of this workflow")
@click.option("--from-step", metavar="STEP", help="with --resume: run again from this step on")
@click.option("--flow", metavar="NAME", help="run the steps of this flow of the workflow; `all` for every step")
@click.option("--skip-steps", metavar="STEP,…", multiple=True, help="skip these steps")
@click.option("--start-from", metavar="STEP", help="skip the steps that come before this one")
@click.option("--override-params", is_flag=True, help="with --resume: the inputs given replace recorded ones")
@click.option("--strict-params", is_flag=True, help="refuse inputs that the workflow does not declare")
@click.option("--dry-run", is_flag=True, help="check everything, show the steps and inputs, store nothing")
def command(
    session: Session,
    target: str,
    assignments: Sequence[str],
    parameters: Sequence[str],
    params_file: Path | None,
    run_id: str | None,
    labels: Sequence[str],
    workspace: Path | None,
    timeout: str | None,
    wait: bool,
    detach: bool,
    resume: bool,
    from_step: str | None,
    flow: str | None,
    skip_steps: Sequence[str],
    start_from: str | None,
    override_params: bool,
    strict_params: bool,
    dry_run: bool,
) -> int:
    """Run a workflow and stay until it has ended.

    TARGET is a YAML file, a workflow in a Python file (FILE.py:NAME) or in a module (MODULE:NAME); with a server, a
    YAML file or the name of a workflow the server was started with. Inputs are NAME=TEXT, which the workflow reads into
    the type it declares, or NAME:=JSON.
    """
    is_remote = isinstance(session.target, ServerTarget)
    if not is_remote:
        refuse_command_for_file(click.get_current_context(), [target, *assignments])
    choice = StepChoice(flow, tuple(parse_steps(skip_steps)), start_from)
    if resume:
        from_step, choice = from_step or start_from, choice._replace(start_from=None)
    inputs = parse_inputs([*assignments, *parameters], params_file)
    if not resume:
        _refuse_without_resume(from_step, override_params)
    elif timeout is not None:
        raise click.UsageError("a resumed run keeps the timeout it was started with; leave --timeout out")
    elif workspace is not None or labels:
        raise click.UsageError("a resumed run keeps its workspace and labels; leave --workspace and --label out")
    elif not choice.is_open:
        raise click.UsageError("a resumed run keeps the steps it was started with; leave --flow and --skip-steps out")
    if run_id is not None:
        check_run_id(run_id)
    Start(timeout=timeout)  # before a store is made for nothing
    if is_remote and workspace is not None:
        raise click.UsageError("a server makes the workspaces of its runs; leave --workspace out")
    if workspace is not None:
        _require_place(workspace)
    if detach and (resume or not (is_remote or is_shared(session.target))):
        raise click.UsageError(
            "--detach leaves a new run to a server; name one with --server, or a store of several hosts with --store"
        )
    workflow = sources.load_remote(target) if is_remote else sources.load(target, workspace=workspace)
    if isinstance(workflow, Workflow):
        _require_choice(workflow, choice, target)  # before a store is made for nothing
    if strict_params:
        _refuse_undeclared(workflow, inputs)
    request = RunRequest(target, workflow, inputs, run_id, parse_labels(labels), choice, not wait, timeout)
    if dry_run:
        return _show(session, request)
    if resume:
        return _resume(session, request, from_step, override_params)
    try:
        return _start(session, request, detached=detach)
    except RunOverlapError as error:
        if error.on_overlap != Overlap.SKIP:
            raise
        return _skipped(session, error)


def _require_choice(workflow: Workflow, choice: StepChoice, target: str) -> None:
    """Raise StepChoiceError for steps that cannot be chosen, with the command that shows those that can."""
    try:
        workflow.with_steps(choice)
    except StepChoiceError as error:
        error.hints = error.hints or (f"flujoctl graph {quote(target)}  # shows the steps",)
        raise


def _require_place(workspace: Path) -> None:
    """Raise BadParameter for a workspace that is no folder, cannot become one, or in which nobody may write."""
    nearest = next(each for each in (workspace.absolute(), *workspace.absolute().parents) if each.exists())
    if not nearest.is_dir():
        raise click.BadParameter(
            f"{str(workspace)!r} cannot be a folder: {str(nearest)!r} is none", param_hint="--workspace"
        )
    if not os.access(nearest, os.W_OK | os.X_OK):
        raise click.BadParameter(f"this user may not write in '{nearest}'", param_hint="--workspace")


def _refuse_without_resume(from_step: str | None, override_params: bool) -> None:
    if from_step is not None:
        raise click.UsageError("--from-step goes with --resume; a new run begins later with --start-from")
    if override_params:
        raise click.UsageError("--override-params goes with --resume")


def _refuse_undeclared(workflow: Workflow | str, inputs: Mapping[str, Any]) -> None:
    """Raise InvalidInputError for inputs that a file does not declare."""
    if isinstance(workflow, str):
        raise click.UsageError("--strict-params looks at a file; name one instead of a workflow of the server")
    if names := _undeclared(workflow, inputs):
        declared = ", ".join(workflow.parameters or ()) or "none"
        problem = f"is not declared, and --strict-params is given; declared: {declared}"
        raise InvalidInputError(workflow.name, dict.fromkeys(names, problem))


def _undeclared(workflow: Workflow, inputs: Mapping[str, Any]) -> list[str]:
    return [] if workflow.parameters is None else [name for name in inputs if name not in workflow.parameters]


def _start(session: Session, request: RunRequest, *, detached: bool) -> int:
    if isinstance(request.workflow, Workflow):
        request.workflow.check_inputs(dict(request.inputs))  # before a store is made for nothing
        for name in _undeclared(request.workflow, request.inputs):
            session.note(f"note: {request.name} declares no parameter {name!r}; it gets it as it was typed")
    run_id = request.run_id or Identifiers(SystemClock()).run_id()

    async def begin(runs: Runs) -> RunHandle:
        flow, skip_steps, start_from = request.choice
        has_files = holds_files(session, run_id)
        start = runs.submit if detached and isinstance(runs, Kernel) else runs.start
        handle = await start(
            request.workflow,
            request.inputs,
            run_id=run_id,
            labels=request.labels,
            flow=flow,
            skip_steps=skip_steps,
            start_from=start_from,
            timeout=request.timeout,
        )
        if not handle.created:
            status = (await handle.inspect()).status
            session.note(f"run {run_id} exists already and is {status}: attached to it, nothing new was started")
        elif has_files:
            note_earlier_files(session, await handle.inspect())
        return handle

    if detached:
        return run_async(lambda: detach(session, begin))
    known = [request.workflow] if isinstance(request.workflow, Workflow) else []
    known += sources.programs(request.target)[1:] if known else []
    return run_async(lambda: advance(session, run_id, begin, no_wait=request.no_wait, workflows=known))


def _skipped(session: Session, error: RunOverlapError) -> int:
    """Say that no run was started, as its workflow wants it; returns the exit code."""
    session.note(f"skipped: {error}")
    for hint in error.hints:
        session.suggest(hint)
    return 0


def _resume(session: Session, request: RunRequest, from_step: str | None, override_params: bool) -> int:
    if request.inputs and not override_params:
        raise click.UsageError("a resumed run has its inputs recorded; add --override-params to replace some of them")
    if override_params and not request.inputs:
        session.note("--override-params without any NAME=TEXT: resuming with the recorded inputs")

    async def resume() -> int:
        run_id = await _find(session, request, any_status=from_step is not None)
        workflow = None if isinstance(request.workflow, str) else request.workflow
        options = ResumeOptions(from_step=from_step, inputs=request.inputs or None, workflow=workflow)
        resume_it = partial(
            resume_run,
            session,
            run_id,
            no_wait=request.no_wait,
            programs=sources.programs(request.target) if workflow is not None else (),
        )
        try:
            return await resume_it(**options)
        except StateIncompatibilityError as error:
            # Overriding is what the user has asked for; what is kept of the old inputs is named all the same.
            if not override_params or any(each.change != "outdated" for each in error.differences):
                raise
            for each in error.differences:
                session.note(f"note: {each}")
            options["accept_changes"] = True
            return await resume_it(**options)

    return run_async(resume)


async def _find(session: Session, request: RunRequest, *, any_status: bool) -> str:
    async with reading(session.target) as runs:
        if request.run_id is None:
            command = f"flujoctl run --resume {request.target}"
            return await run_to_resume(runs, request.name, command, any_status=any_status)
        run = await runs.summary(request.run_id)
        if run.workflow != request.name:
            raise AmbiguousRunError(
                f"run {run.run_id!r} is a run of {run.workflow!r}, not of {request.name!r}",
                (),
                [f"flujoctl resume {run.run_id}"],
            )
        await refuse_active(runs, run)
        return run.run_id


def _show(session: Session, request: RunRequest) -> int:
    workflow = request.workflow
    if isinstance(workflow, str):
        raise click.UsageError("--dry-run checks a file; the workflow of a server is checked when it is started")
    inputs = workflow.check_inputs(dict(request.inputs))
    workflow = workflow.with_steps(request.choice)
    names = None if workflow.plan is None else [row[0] for row in workflow.plan]
    steps = sources.previewed(request.target, request.choice, inputs)
    if session.output == "name":
        print(workflow.name)
    elif session.output != "table":
        told = {"workflow": workflow.name, "version": workflow.version, "inputs": inputs, "steps": names}
        emit({**told, "preview": [step._asdict() for step in steps]}, session.output)
    else:
        print(f"{text.printable(workflow.name)} is valid; nothing was run")
        print("inputs:" if inputs else "inputs: none")
        for name, value in inputs.items():
            print(f"  {name}: {text.value(value)}")
        print("steps: decided by the program at run time" if names is None else "steps:")
        for number, step in enumerate(steps, 1):
            for line in preview_lines(number, step):
                print(text.printable(line))
    return 0
