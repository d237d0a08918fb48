"""Describe workflows to the kernel in another way than by decorators, as `flujo.workflows` does for YAML."""

from __future__ import annotations

from .execution.attempt_runner import Described, described
from .execution.child_runs import ChildCall
from .execution.child_steps import perform_child
from .execution.current_attempt import Attempt, Wait, current_attempt, leave_every_attempt
from .execution.inputs import Inputs
from .execution.items import Agenda, ItemOutcome, Loop, LoopEnd
from .execution.programs import (
    P,
    Program,
    R,
    RunStart,
    Step,
    Workflow,
    as_step,
    plain_options,
    prepared,
    step,
    workflow,
)
from .execution.rounds import Rounds
from .execution.subprocesses import Children, Finished
from .journal.failures import MAX_MESSAGE, bounded
from .journal.overlap import Overlap
from .journal.plans import ALWAYS, ANY, NOTHING, clean_ups, dependencies, followers, loop_of, planned_name, reached
from .journal.retry import NO_RETRY, RetryPolicy
from .journal.step_choice import EVERY_STEP, StepChoice, choice_in
from .store.log_compaction import LONGEST_HEADER, compact_log, header_in, left_out
from .store.retention import KEYS, Retention
from .store.run_logs import line_start

__all__ = [
    "ALWAYS",
    "ANY",
    "EVERY_STEP",
    "KEYS",
    "LONGEST_HEADER",
    "MAX_MESSAGE",
    "NOTHING",
    "NO_RETRY",
    "Agenda",
    "Attempt",
    "ChildCall",
    "Children",
    "Described",
    "Finished",
    "Inputs",
    "ItemOutcome",
    "Loop",
    "LoopEnd",
    "Overlap",
    "P",
    "Program",
    "R",
    "Retention",
    "RetryPolicy",
    "Rounds",
    "RunStart",
    "Step",
    "StepChoice",
    "Wait",
    "Workflow",
    "as_step",
    "bounded",
    "choice_in",
    "clean_ups",
    "compact_log",
    "current_attempt",
    "dependencies",
    "described",
    "followers",
    "header_in",
    "leave_every_attempt",
    "left_out",
    "line_start",
    "loop_of",
    "perform_child",
    "plain_options",
    "planned_name",
    "prepared",
    "reached",
    "step",
    "workflow",
]
