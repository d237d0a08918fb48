"""Errors that tell how a step or a run ended, for those who asked for its result."""

from __future__ import annotations

from .base import FlujoError


class StepFailed(FlujoError):
    """A step ended in failure: the same class, with the same fields, live and on replay.

    `type` is the class name of the original error (`ConnectionError`, `mymodule.MyError`), `error` its text,
    `attempt` the attempt that failed last."""

    reason = "STEP_FAILED"

    def __init__(self, step: str, type: str, error: str, attempt: int) -> None:
        super().__init__(f"step {step!r} failed at attempt {attempt}: {type}: {error}")
        self.step, self.type, self.error, self.attempt = step, type, error, attempt


class RunFailed(FlujoError):
    """The run whose result was asked for has failed. `type`, `error` and `step` are what is recorded of it."""

    reason = "RUN_FAILED"

    def __init__(self, run_id: str, type: str, error: str, step: str | None) -> None:
        where = f" in step {step!r}" if step else ""
        super().__init__(
            f"run {run_id!r} failed{where}: {type}: {error}",
            [f"flujoctl inspect {run_id}", f"flujoctl resume {run_id}"],
        )
        self.run_id, self.type, self.error, self.step = run_id, type, error, step


class RunCancelled(FlujoError):
    """The run whose result was asked for has been cancelled."""

    reason = "RUN_CANCELLED"

    def __init__(self, run_id: str, why: str | None) -> None:
        super().__init__(f"run {run_id!r} was cancelled" + (f": {why}" if why else ""), [f"flujoctl resume {run_id}"])
        self.run_id, self.why = run_id, why


class RunPaused(FlujoError):
    """The run whose result was asked for is paused and goes on only after a resume."""

    reason = "RUN_PAUSED"

    def __init__(self, run_id: str, why: str | None) -> None:
        super().__init__(f"run {run_id!r} is paused" + (f": {why}" if why else ""), [f"flujoctl resume {run_id}"])
        self.run_id, self.why = run_id, why


class RunInterrupted(FlujoError):
    """The run whose result was asked for is not final and no live process runs it."""

    reason = "RUN_INTERRUPTED"

    def __init__(self, run_id: str) -> None:
        super().__init__(f"run {run_id!r} is interrupted: no process runs it", [f"flujoctl resume {run_id}"])
        self.run_id = run_id
