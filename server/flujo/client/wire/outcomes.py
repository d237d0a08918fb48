"""Read what became of a request, and why a run does not go on, from the messages of answers.

A number of a newer release is unknown, and an answer all the same: what was asked has been done."""

from __future__ import annotations

from flujo.kernel.api import CancelOutcome, Delivery, PauseOutcome, PutOutcome, Reason, Rest, Why
from flujo.v1 import run_service_pb2, workflow_service_pb2

from .values import from_timestamp
from .words import REASON_KINDS

DELIVERIES: dict[int, Delivery] = {
    run_service_pb2.SIGNAL_OUTCOME_RECORDED: Delivery.RECORDED,
    run_service_pb2.SIGNAL_OUTCOME_POSTED: Delivery.POSTED,
    run_service_pb2.SIGNAL_OUTCOME_STORED: Delivery.STORED,
}
PAUSE_OUTCOMES: dict[int, PauseOutcome] = {
    run_service_pb2.PAUSE_OUTCOME_REQUESTED: PauseOutcome.REQUESTED,
    run_service_pb2.PAUSE_OUTCOME_PAUSED: PauseOutcome.PAUSED,
    run_service_pb2.PAUSE_OUTCOME_ALREADY_PAUSED: PauseOutcome.ALREADY_PAUSED,
}
CANCEL_OUTCOMES: dict[int, CancelOutcome] = {
    run_service_pb2.CANCEL_OUTCOME_REQUESTED: CancelOutcome.REQUESTED,
    run_service_pb2.CANCEL_OUTCOME_CANCELLED: CancelOutcome.CANCELLED,
    run_service_pb2.CANCEL_OUTCOME_ALREADY_FINISHED: CancelOutcome.ALREADY_FINISHED,
}

PUT_OUTCOMES: dict[int, PutOutcome] = {
    workflow_service_pb2.PUT_OUTCOME_CREATED: PutOutcome.CREATED,
    workflow_service_pb2.PUT_OUTCOME_REPLACED: PutOutcome.REPLACED,
    workflow_service_pb2.PUT_OUTCOME_UNCHANGED: PutOutcome.UNCHANGED,
}


def from_reason(message: run_service_pb2.Reason) -> Reason:
    """Return a reason why a run does not go on."""
    return Reason(
        Why(word) if (word := REASON_KINDS.word(message.why)) in set(Why) else Why.UNKNOWN,
        message.text,
        message.step if message.HasField("step") else None,
        from_timestamp(message.until) if message.HasField("until") else None,
        list(message.commands),
    )


def from_rest(message: run_service_pb2.Rest) -> Rest:
    """Return what a run waits for."""
    return Rest(message.seq, from_timestamp(message.until) if message.HasField("until") else None)
