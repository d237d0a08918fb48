"""The secrets of a definition: environment variables whose values nothing that is stored may hold.

    secrets: [API_TOKEN]

The passwords of stores in the environment are secrets of every run: a step that prints its variables has them.

They are looked at before the first step of a run and read again for each attempt, never recorded. What an attempt comes
to, a result or a failure, is redacted before it is handed to the kernel, and so is every line of its log. Where that
has cut something out, the outcome of the step says so: `redacted` (docs/adr/0022-*.md).
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import Any, NoReturn
from urllib.parse import unquote, urlsplit

from flujo.kernel.errors import FlujoError
from flujo.kernel.programs import (
    Agenda,
    Attempt,
    Described,
    Loop,
    LoopEnd,
    RunStart,
    Wait,
    Workflow,
    current_attempt,
    described,
)

from .redaction import MIN_LENGTH, NotingRedactor, Redactor
from .seen import Variables

RECORDED = "secrets"
"""The name under which a run records the names of its secrets, with those of the run that has started it."""

DEPTH = "depth"
"""The name under which a run records how many runs are above it; without it, none."""


class SecretError(FlujoError, LookupError):
    """A secret is not there, or too short to be one."""

    reason = "STEP_FAILED"
    type = "SecretError"

    def __init__(self, problems: Mapping[str, str]) -> None:
        told = "; ".join(f"the secret {name} {problem}" for name, problem in problems.items())
        super().__init__(f"{told}; set it where flujo runs, and resume")


def problems_with(names: Iterable[str], environment: Mapping[str, str]) -> dict[str, str]:
    """Return what is wrong with secrets, by name, as ends of sentences."""
    found: dict[str, str] = {}
    for name in names:
        if name not in environment:
            found[name] = "is not set in the environment"
        elif len(environment[name].strip()) < MIN_LENGTH:
            found[name] = f"has fewer than {MIN_LENGTH} characters, and cannot be kept out of what is stored"
    return found


def passwords_of_stores(environment: Mapping[str, str]) -> dict[str, str]:
    """Return the passwords of stores that an environment has, by where: PGPASSWORD, and that in the URL of FLUJO_STORE.
    One that is too short to be kept out is left out."""
    found = {}
    if password := environment.get("PGPASSWORD"):
        found["PGPASSWORD"] = password
    if "@" in (url := environment.get("FLUJO_STORE", "")):
        try:
            password = urlsplit(url).password
        except ValueError:
            password = None
        if password:
            found["FLUJO_STORE"] = unquote(password)
    short = problems_with(found, found)
    return {name: value for name, value in found.items() if name not in short}


class Secrets:
    """The secrets of one run in one process. `names` are those of its definition, which have to be there; `inherited`
    those of the runs above it, which are kept out as well."""

    def __init__(
        self, names: Iterable[str], inherited: Iterable[str] = (), environment: Mapping[str, str] | None = None
    ) -> None:
        self.names = tuple(names)
        self.masked = frozenset({*self.names, *inherited})
        """The names of all that are kept out."""
        self._environment = os.environ if environment is None else environment
        # All that were read, since one may have been changed meanwhile.
        self._values: set[str] = set(passwords_of_stores(self._environment).values())
        self._redactor = Redactor(self._values)

    @property
    def are_any(self) -> bool:
        """True if there is anything to keep out."""
        return bool(self.masked or self._values)

    @property
    def redactor(self) -> Redactor:
        """Return what takes out the values there are, and those there were."""
        found = {name: value for name in self.masked if (value := self._environment.get(name)) is not None}
        new = {value for name, value in found.items() if not problems_with([name], found)} - self._values
        if new:
            self._values |= new
            self._redactor = Redactor(self._values)
        return self._redactor

    def seen(self, names: Mapping[str, Any]) -> dict[str, Any]:
        """Return template names with the values as they are now: as `secrets.NAME`, and as `env.NAME`."""
        values = {name: self._environment[name] for name in self.names if name in self._environment}
        return {**names, "secrets": values, "env": Variables({**names["env"], **values})}

    def require(self) -> None:
        """Raise SecretError unless all of the definition are there."""
        if problems := problems_with(self.names, self._environment):
            raise SecretError(problems)

    def result(self, result: Any) -> Any:
        """Return what a task returned, as it may be recorded."""
        if isinstance(result, Wait):
            return result if result.signal is None else result._replace(signal=self.redactor.text(result.signal))
        told = self.redactor.value(result)
        if told != result:
            current_attempt().note_redaction()
        return told

    def fail(self, error: BaseException, step: str, attempt: int) -> NoReturn:
        """Raise an error as it may be recorded: its type, its redacted texts, and the names that retry rules know."""
        failed, redact = described(error, step, attempt), self.redactor.text
        told = failed.failure
        details = None if told.details is None else redact(told.details)
        redacted = told._replace(message=redact(told.message), details=details)
        raise Described(failed._replace(failure=redacted, redacted=failed.redacted or redacted != told)) from None

    def loop(self, step: str, loop: Loop) -> Loop:
        """Return a loop whose output, and whose own failures, are redacted."""

        async def read() -> Agenda:
            try:
                return await loop.read()
            except Exception as error:
                self.fail(error, step, 1)

        def conclude(end: LoopEnd) -> Any:
            try:
                return self.redactor.value(loop.conclude(end))
            except Exception as error:
                self.fail(error, step, 1)

        return loop._replace(read=read, conclude=conclude)

    def attempt(self, attempt: Attempt) -> Attempt:
        """Return an attempt whose reports of progress are redacted."""
        report, redactor = attempt.report, self.redactor_of(attempt)

        def redacted(
            step: str | None, done: float, total: float | None, message: str | None, metrics: Mapping[str, float]
        ) -> None:
            report(step, done, total, None if message is None else redactor.text(message), metrics)

        return attempt._replace(report=redacted)

    def redactor_of(self, attempt: Attempt) -> NotingRedactor:
        """Return what takes the values out of what an attempt says, and notes for its outcome that it has."""
        return NotingRedactor(self.redactor, attempt.note_redaction)


def inheriting(workflow: Workflow, names: Iterable[str], depth: int) -> Workflow:
    """Return a workflow whose runs keep the secrets of the run that starts them out of what they store, and record how
    many runs there are above them."""
    read = workflow.environment
    if read is None:
        return workflow
    own: Callable[[RunStart], Mapping[str, Any]] = read

    def environment(start: RunStart) -> Mapping[str, Any]:
        recorded = own(start)
        env = {name: value for name, value in recorded.get("env", {}).items() if name not in names}
        masked = sorted({*recorded.get(RECORDED, ()), *names})
        return {**recorded, "env": env, DEPTH: depth, **({RECORDED: masked} if masked else {})}

    return replace(workflow, environment=environment)
