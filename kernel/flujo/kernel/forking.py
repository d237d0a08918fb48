"""Forking: the history of a run up to a step, as the beginning of a new, self-contained run.

Facts are copied as they are, but for what belongs to the old run's life (its ends, pauses, resumes, requests) and for
steps that had no outcome at that point, or have had a newer life since.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from . import events
from .events import Event, Fact
from .state import SETTLED, StepStatus, WorkflowState
from .transitions import add_up, first_seq

_OF_THE_OLD_LIFE = (
    events.RunCreated,
    events.RunResumed,
    events.RunPaused,
    events.RunCompleted,
    events.RunFailed,
    events.RunCancelled,
    events.CancelRequested,
    events.PauseRequested,
    events.ProgressReported,
)


def history(journal: Sequence[Event], state: WorkflowState, from_step: str | None) -> list[Fact]:
    """What a fork records behind its creation: the outcomes of the steps that had settled before `from_step` first
    began; by default all of them, but for the failures that ended the run.

    `state` is what `journal` adds up to. Raises StepNotFoundError.
    """
    cut = state.seq + 1 if from_step is None else first_seq(state, from_step)
    before = add_up(state.run_id, state.uid, journal[: cut - 1])
    kept = {
        step.name: step.generation
        for step in before.steps.values()
        if step.status in SETTLED and not (step.status is StepStatus.FAILED and step.name in before.failed_steps)
    }
    return list(_copied(journal[: cut - 1], kept))


def _copied(journal: Iterable[Event], kept: dict[str, int]) -> Iterator[Fact]:
    seq = 1  # of the creation
    numbers: dict[int, int] = {}  # of signals: seq there → seq here
    generations: dict[str, int] = {}
    for event in journal:
        fact = event.fact
        if isinstance(fact, _OF_THE_OLD_LIFE):
            continue
        if (step := event.step) is not None:
            # Facts about a step that goes on do not say their generation: it is that of its last beginning.
            generation = generations[step] = getattr(fact, "generation", generations.get(step, 1))
            if kept.get(step) != generation:
                continue
        if isinstance(fact, events.StepCompleted) and fact.signal_seq is not None:
            fact = fact._replace(signal_seq=numbers[fact.signal_seq])
        seq += 1
        if isinstance(fact, events.SignalReceived):
            numbers[event.seq] = seq
        yield fact
