"""Convert filters and orders of runs to messages and back."""

from __future__ import annotations

from typing import Any, cast

from flujo.kernel.backend import Order, RunFilter, RunQuery
from flujo.kernel.errors import InvalidNameError
from flujo.v1 import run_service_pb2 as pb

from .runs import given_statuses, to_run_status
from .values import from_timestamp, to_timestamp

_ORDERS = {Order.CREATED: pb.RUN_ORDER_CREATED, Order.UPDATED: pb.RUN_ORDER_UPDATED}
_ORDER_OF: dict[int, Order] = {
    pb.RUN_ORDER_UNSPECIFIED: Order.CREATED,
    **{number: order for order, number in _ORDERS.items()},
}
_INSTANTS = (
    "created_from",
    "created_before",
    "updated_from",
    "updated_before",
    "finished_from",
    "finished_before",
)


def to_filter(filter: RunFilter) -> pb.RunFilter:
    """Return the message of a filter."""
    made: Any = pb.RunFilter(
        statuses=[to_run_status(status) for status in filter.statuses],
        workflow=filter.workflow or "",
        id_prefix=filter.id_prefix or "",
        labels=dict(filter.labels),
        failed_step=filter.failed_step or "",
        parent_run_id=filter.parent or "",
    )
    for name in _INSTANTS:
        if (instant := getattr(filter, name)) is not None:
            getattr(made, name).CopyFrom(to_timestamp(instant))
    return cast(pb.RunFilter, made)


def from_filter(message: pb.RunFilter) -> RunQuery:
    """Return the filter in a message; raises InvalidNameError for a status that does not exist."""
    told: Any = message
    wanted: Any = {name: from_timestamp(getattr(told, name)) for name in _INSTANTS if told.HasField(name)}
    wanted |= {name: getattr(told, name) for name in ("workflow", "id_prefix", "failed_step", "parent_run_id")}
    wanted |= {"statuses": given_statuses(message.statuses), "labels": dict(message.labels)}
    return cast(RunQuery, wanted)


def to_order(order: Order) -> pb.RunOrder.ValueType:
    """Return the number of an order."""
    return _ORDERS[order]


def given_order(number: int) -> Order:
    """Return the order in a request; raises InvalidNameError for a number that is none."""
    if number not in _ORDER_OF:
        raise InvalidNameError("order", number, "one of the numbers of flujo.v1.RunOrder")
    return _ORDER_OF[number]
