"""One call of a task: its inputs rendered and checked, its workspace and log, and what it came to as it is recorded."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from flujo.kernel.programs import Wait, current_attempt
from flujo.kernel.trust import NAMING_A_WORKSPACE, make_own_folder

from .failure_texts import found_in
from .missing_files import told_of_missing
from .names import StepNames
from .registry import LoopScope, Task, TaskCall
from .runlog import StepLog
from .secret_values import Secrets
from .template_places import TemplatePlaces
from .templates import TemplateError, holds, render


class Caller:
    """Calls the tasks of one run."""

    def __init__(self, names: StepNames, secrets: Secrets, places: TemplatePlaces) -> None:
        self._names = names
        self._secrets = secrets
        self._places = places

    async def call(
        self,
        task: Task,
        inputs: Mapping[str, Any],
        seen: Mapping[str, Any],
        timeout_seconds: float | None,
        condition: bool | str | None = None,
        scope: LoopScope | None = None,
        outputs: Mapping[str, Any] | None = None,
        rules: Sequence[str] = (),
    ) -> Any:
        """Return what a task returns for one attempt, or the `outputs` that are made of it; raises what it raises,
        without the secrets of the run, and with the place of a template that fails. `scope` is that of the loop whose
        item it is called for; `rules` are those by texts, which a failure of the task is searched for."""
        if task.needs_workspace:  # before anything can fail: later steps take a folder that is not there for lost
            self._make_workspace(Path(seen["workspace"]))
        if not self._secrets.are_any:
            try:
                result = await self._call(task, inputs, seen, timeout_seconds, condition, scope, rules)
                return result if outputs is None else await render(outputs, {**seen, "result": result})
            except TemplateError as error:
                raise self._places.told(error, current_attempt().step) from error
        try:
            self._secrets.require()
            seen = self._secrets.seen(seen)
            result = self._secrets.result(
                await self._call(task, inputs, seen, timeout_seconds, condition, scope, rules)
            )
            if outputs is None:
                return result
            # Made of what is left of the result: a part of a secret would not be known any more.
            return self._secrets.result(await render(outputs, {**seen, "result": result}))
        except (Exception, SystemExit) as error:
            attempt = current_attempt()
            told = self._places.told(error, attempt.step) if isinstance(error, TemplateError) else error
            self._secrets.fail(told, attempt.step, attempt.attempt)

    async def _call(
        self,
        task: Task,
        inputs: Mapping[str, Any],
        seen: Mapping[str, Any],
        timeout_seconds: float | None,
        condition: bool | str | None,
        scope: LoopScope | None,
        rules: Sequence[str],
    ) -> Any:
        if condition is not None:
            await holds(condition, seen)  # true, or that of a step that had begun; only its error matters here
        checked = task.checked(await render(inputs, seen))
        workspace = Path(seen["workspace"])
        attempt = current_attempt()
        redactor = None
        if self._secrets.are_any:
            attempt, redactor = self._secrets.attempt(attempt), self._secrets.redactor_of(attempt)
        log = StepLog(self._names.log_file, attempt.step, attempt.attempt, redactor)
        try:
            result = await _run(task, TaskCall(checked, workspace, attempt, seen, log, scope, self._names.variables))
        except Exception as error:
            if not rules or isinstance(
                error, TemplateError
            ):  # which has its place yet to be told, and is never retried
                raise
            raise found_in(error, rules, attempt.step, attempt.attempt) from error
        finally:
            log.close()
        return _within(result, timeout_seconds) if isinstance(result, Wait) else result

    def _make_workspace(self, workspace: Path) -> None:
        """Make the folder of the run. One that its user has named may be anybody's, one of flujo's own may not."""
        is_named = self._names.log_file != workspace.with_name(f"{workspace.name.removesuffix('~')}.log")
        if is_named:
            workspace.mkdir(mode=0o700, parents=True, exist_ok=True)
        else:
            make_own_folder(workspace, workspace.parent, NAMING_A_WORKSPACE)


async def _run(task: Task, call: TaskCall) -> Any:
    try:
        return await task.run(call)
    except FileNotFoundError as error:
        raise await told_of_missing(error, call.workspace, call.context) from error


def _within(wait: Wait, timeout_seconds: float | None) -> Wait:
    """Return a wait that ends with its step's timeout; raises TimeoutError for a sleep that is longer than that."""
    if timeout_seconds is None or (wait.seconds is not None and wait.seconds <= timeout_seconds):
        return wait
    if wait.signal is None:
        raise TimeoutError(
            f"a wait of {wait.seconds or 0:g} s is longer than the step's timeout of {timeout_seconds:g} s"
        )
    return wait._replace(seconds=timeout_seconds)
