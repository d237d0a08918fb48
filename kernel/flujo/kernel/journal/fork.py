"""Forking: what a run has recorded, or what a resume from a step would keep of it, as the beginning of a new,
self-contained run.

Facts are copied as they are, but for what belongs to the old run's life (its ends, pauses, resumes, requests) and for
steps that have no outcome, or have had a newer life since.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

from . import events
from .decisions import at_resume
from .events import KIND_OF, Event, Fact
from .state import SETTLED, RunStatus, WorkflowState


def history(journal: Sequence[Event], state: WorkflowState, from_step: str | None) -> list[Fact]:
    """Return what a fork records behind its creation: the outcomes that a resume from `from_step` would keep; by
    default all of them, but for the failures that ended the run, and its clean-ups. As after a resume, signals that
    were taken by what is not kept are void.

    `state` is what `journal` adds up to. Raises StepNotFoundError.
    """
    steps = state.steps
    is_whole = from_step is None and state.status is RunStatus.COMPLETED
    dropped = frozenset() if is_whole else frozenset(at_resume(state, from_step))
    kept = {name: step.generation for name, step in steps.items() if step.status in SETTLED and name not in dropped}
    return list(_copied(list(_placed(journal)), kept))


class _Placed(NamedTuple):
    """An event, and the generation of the step it is about."""

    event: Event
    generation: int


def _placed(journal: Iterable[Event]) -> Iterator[_Placed]:
    generations: dict[str, int] = {}
    for event in journal:
        generation = 1
        if (step := event.step) is not None:
            # Facts about a step that goes on do not say their generation: it is that of its last beginning.
            generation = generations[step] = getattr(event.fact, "generation", generations.get(step, 1))
        yield _Placed(event, generation)


def _copied(journal: Sequence[_Placed], kept: Mapping[str, int]) -> Iterator[Fact]:
    void = {
        event.fact.signal_seq
        for event, generation in journal
        if isinstance(event.fact, events.StepCompleted) and kept.get(event.fact.step) != generation
    }
    seq = 1  # of the creation
    numbers: dict[int, int] = {}  # of signals: seq there → seq here
    for event, generation in journal:
        fact = event.fact
        if not KIND_OF[fact.__class__].in_fork or event.seq in void:
            continue
        if event.step is not None and kept.get(event.step) != generation:
            continue
        if isinstance(fact, events.StepCompleted | events.SignalSetAside) and fact.signal_seq is not None:
            fact = fact._replace(signal_seq=numbers[fact.signal_seq])
        seq += 1
        if isinstance(fact, events.SignalReceived):
            numbers[event.seq] = seq
        yield fact
