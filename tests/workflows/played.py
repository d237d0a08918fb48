"""Definitions on the real kernel, whose steps do as they are told.

    harness = PlayHarness(finish=["b", "a"], failing={"c": 1})
    state = await harness.play("{name: a}, {name: b}, {name: c, depends_on: [a, b]}")

Every step calls the task `play`, which notes that it began, ends when `together` steps have been at work at once and it
is its turn in `finish`, fails as often as `failing` says, and returns its `value`. A crash is a kernel whose store
refuses everything from some instant on.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any

import anyio

from flujo.kernel import Workflow
from flujo.kernel.backend import StoredDefinition
from flujo.kernel.execution.current_attempt import current_attempt
from flujo.kernel.state import WorkflowState
from flujo.kernel.transitions import replay
from flujo.workflows import load_workflow_text
from flujo.workflows.registry import TaskCall, task
from kernel.harness import Harness, JumpingClock, crash, until


class PlayHarness(Harness):
    """One store, and what its steps do."""

    def __init__(
        self, finish: Iterable[str] = (), failing: Mapping[str, int] | None = None, *, together: int = 1
    ) -> None:
        super().__init__(JumpingClock())
        self.began: list[str] = []
        self.given: dict[str, dict[str, Any]] = {}  # the rendered inputs of each step, by key
        self.at_work = self.most_at_work = 0
        self.failing = dict(failing or {})
        self.held: set[str] = set()  # steps that never end
        self._finish = list(finish)
        self._together = together
        self._met = anyio.Event()
        self._ended: dict[str, anyio.Event] = {}

        @task("play", needs_workspace=False)
        async def play(call: TaskCall) -> Any:
            return await self._play(current_attempt().step, dict(call.inputs))

        self._task = play

    async def _play(self, key: str, inputs: dict[str, Any]) -> Any:
        self.began.append(key)
        self.given[key] = inputs
        self.at_work += 1
        self.most_at_work = max(self.most_at_work, self.at_work)
        try:
            if self.at_work >= self._together:
                self._met.set()
            if key in self.held:
                await anyio.sleep_forever()
            await self._met.wait()
            if key in self._finish and (place := self._finish.index(key)):
                await self._end_of(self._finish[place - 1]).wait()
        finally:
            self.at_work -= 1
        self._end_of(key).set()
        if self.failing.get(key, 0) > 0:
            self.failing[key] -= 1
            raise ValueError(f"{key} as told")
        return inputs.get("value", key)

    def _end_of(self, key: str) -> anyio.Event:
        return self._ended.setdefault(key, anyio.Event())

    def flow(self, steps: str, *, top: str = "") -> Workflow:
        """A definition of these steps, each `{name: …}`; in a graph, those that say nothing begin at once."""
        written = steps.replace("{name:", "{task: play, name:")
        if "depends_on" in steps:
            handlers = set(re.findall(r"next: (\w+)", steps))
            written = "{task: play, name:".join(map(_begun_at_once(handlers), written.split("{task: play, name:")))
        return self.load(StoredDefinition("", "flow", None, f"name: flow\n{top}steps: [{written}]\n"))

    def load(self, stored: StoredDefinition) -> Workflow:
        """The workflow of a stored text."""
        return load_workflow_text(stored.text, "flow.yaml", tasks=[self._task])

    def load_text(self, text: str) -> Workflow:
        """The workflow in a whole text."""
        return self.load(StoredDefinition("", "flow", None, text))

    async def play(self, steps: str, *, top: str = "") -> WorkflowState:
        """Run a definition to its end."""
        workflow = self.flow(steps, top=top)
        async with self.kernel(workflow) as kernel:
            await kernel.start(workflow, run_id="r")
            return await kernel.wait("r")

    async def play_until(self, steps: str, type: str, step: str, *, top: str = "") -> None:
        """Run a definition, and end its kernel as SIGKILL does once this event about a step is durable."""
        workflow = self.flow(steps, top=top)
        async with self.kernel(workflow) as kernel:
            await kernel.start(workflow, run_id="r")
            await until(kernel, "r", type, step)
            crash(kernel)
        self.began.clear()
        self.held.clear()

    async def recover(self) -> WorkflowState:
        """Run it to its end in another kernel."""
        async with self.kernel(load_definition=self.load) as kernel:
            return await kernel.wait("r")

    async def resume(self, from_step: str | None = None, steps: str | None = None, *, top: str = "") -> WorkflowState:
        """Resume it, perhaps with other steps, and run it to its end."""
        async with self.kernel(load_definition=self.load) as kernel:
            workflow = None if steps is None else self.flow(steps, top=top)
            await kernel.resume("r", from_step=from_step, workflow=workflow)
            return await kernel.wait("r")

    def journal_state(self) -> WorkflowState:
        """What the durable journal adds up to."""
        run = self.store.runs["r"]
        return replay("r", run.summary.uid, run.events)


def _begun_at_once(handlers: Collection[str]) -> Callable[[str], str]:
    """What adds an empty `depends_on` to a step, given as what follows on `name:`, that says nothing about it."""

    def begin(step: str) -> str:
        found = re.match(r" (\w+)", step)
        if found is None or "depends_on" in step or "always_run" in step or found[1] in handlers:
            return step
        return f"{found[0]}, depends_on: []{step[found.end() :]}"

    return begin


def statuses(state: WorkflowState) -> dict[str, str]:
    """The status of every step that has begun, by key."""
    return {step.name: step.status.value for step in state.steps.values()}


def generations(state: WorkflowState) -> dict[str, int]:
    """The generation of every step that has begun, by key."""
    return {step.name: step.generation for step in state.steps.values()}
