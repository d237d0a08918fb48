"""Errors that tell how a step or a run ended, for those who asked for its result."""

from __future__ import annotations

from shlex import quote

from .base import FlujoError


class StepFailed(FlujoError):
    """A step ended in failure: the same class, with the same fields, live and on replay.

    `type` is the class name of the original error (`ConnectionError`, `mymodule.MyError`), `error` its text,
    `attempt` the attempt that failed last.

    `flujoctl logs ID --step STEP` shows what the step has printed, `flujoctl inspect ID --step STEP` its error in
    full.
    """

    reason = "STEP_FAILED"

    def __init__(self, step: str, type: str, error: str, attempt: int) -> None:
        super().__init__(f"step {step!r} failed at attempt {attempt}: {type}: {error}")
        self.step, self.type, self.error, self.attempt = step, type, error, attempt


class RunFailed(FlujoError):
    """The run whose result was asked for has failed. `type`, `error` and `step` are what is recorded of it; `source` is
    the file of its definition, if it has one.

    `flujoctl explain ID` says what failed and why; mend that and type `flujoctl resume ID`: what has completed is
    not done again.
    """

    reason = "RUN_FAILED"

    def __init__(self, run_id: str, type: str, error: str, step: str | None, source: str | None = None) -> None:
        where = f" in step {step!r}" if step else ""
        look, ways = f"flujoctl inspect {run_id}", ways_on(run_id, type, error, source)
        super().__init__(
            f"run {run_id!r} failed{where}: {type}: {error}",
            [*ways, look] if type in FAILS_AGAIN else [look, *ways],
        )
        self.run_id, self.type, self.error, self.step = run_id, type, error, step


FAILS_AGAIN = ("TemplateError", "ConditionError", "TaskInputError")
"""Failures of a definition that come from its text and what was recorded at the start: a resume alone ends in them
again."""


def ways_on(run_id: str, type: str, error: str, source: str | None = None) -> list[str]:
    """Return the commands that may lead a failed run further.

    A new run reads its variables anew, which helps only where the error is about one."""
    if type not in FAILS_AGAIN:
        return [f"flujoctl resume {run_id}"]
    mended = (
        f"flujoctl run --resume FILE --id {run_id}  # with a definition that is mended"
        if source is None
        else f"edit {quote(source)}, then: flujoctl resume {run_id}"
    )
    anew = f"flujoctl fork {run_id} --id NEW-ID  # goes on as a new run, which reads its variables anew"
    return [mended, anew] if "env" in error else [mended]


class RunCancelled(FlujoError):
    """The run whose result was asked for has been cancelled.

    `flujoctl resume ID` goes on with the first step that has not completed.
    """

    reason = "RUN_CANCELLED"

    def __init__(self, run_id: str, why: str | None) -> None:
        super().__init__(f"run {run_id!r} was cancelled" + (f": {why}" if why else ""), [f"flujoctl resume {run_id}"])
        self.run_id, self.why = run_id, why


class RunPaused(FlujoError):
    """The run whose result was asked for is paused and goes on only after a resume.

    `flujoctl explain ID` says why; `flujoctl unpause ID` or `flujoctl resume ID` goes on.
    """

    reason = "RUN_PAUSED"

    def __init__(self, run_id: str, why: str | None) -> None:
        super().__init__(f"run {run_id!r} is paused" + (f": {why}" if why else ""), [f"flujoctl resume {run_id}"])
        self.run_id, self.why = run_id, why


class RunInterrupted(FlujoError):
    """The run whose result was asked for is not final and no live process runs it.

    `flujoctl resume ID` goes on with the step that was interrupted.
    """

    reason = "RUN_INTERRUPTED"

    def __init__(self, run_id: str) -> None:
        super().__init__(f"run {run_id!r} is interrupted: no process runs it", [f"flujoctl resume {run_id}"])
        self.run_id = run_id


class WaitTimedOutError(FlujoError, TimeoutError):
    """A run has not ended within the time that its caller wanted to wait. The wait does not affect it.

    `flujoctl explain ID` says what the run does or waits for; wait again with a longer --timeout.
    """

    reason = "WAIT_TIMED_OUT"

    def __init__(self, run_id: str, seconds: float) -> None:
        super().__init__(
            f"run {run_id!r} has not ended within {seconds:g}s; the wait does not affect it",
            [f"flujoctl explain {run_id}", f"flujoctl watch {run_id}"],
        )
        self.run_id, self.seconds = run_id, seconds
