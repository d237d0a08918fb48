"""Convert filters and orders of runs to messages and back."""

from __future__ import annotations

from typing import cast

from flujo.kernel.api import SelectionOptions, WatchQuery
from flujo.kernel.backend import Order, RunFilter, RunQuery
from flujo.kernel.errors import InvalidNameError
from flujo.v1 import run_service_pb2 as pb

from .parameters import given_in, put_given

_ORDERS = {Order.CREATED: pb.RUN_ORDER_CREATED, Order.UPDATED: pb.RUN_ORDER_UPDATED}
_ORDER_OF: dict[int, Order] = {
    pb.RUN_ORDER_UNSPECIFIED: Order.CREATED,
    **{number: order for order, number in _ORDERS.items()},
}
_OTHER_NAMES = {"parent_run_id": "parent"}
"""Words of a caller that a filter of the port has under another name."""


def to_filter(filter: RunFilter) -> pb.RunFilter:
    """Return the message of a filter."""
    made = pb.RunFilter()
    wanted = {name: getattr(filter, _OTHER_NAMES.get(name, name)) for name in RunQuery.__annotations__}
    put_given(made, {**wanted, "labels": dict(filter.labels)})
    return made


def from_filter(message: pb.RunFilter) -> RunQuery:
    """Return the filter in a message; raises InvalidNameError for a status that does not exist."""
    return cast(RunQuery, given_in(message, RunQuery.__annotations__))


def from_selection(message: pb.PruneRunsRequest) -> SelectionOptions:
    """Return what a request says to prune; raises InvalidNameError for a part of its filter that is not for pruning."""
    for field, _ in message.filter.ListFields():
        if field.name not in SelectionOptions.__annotations__:
            known = ", ".join(name for name in RunQuery.__annotations__ if name in SelectionOptions.__annotations__)
            raise InvalidNameError(f"filter.{field.name}", "", f"runs are pruned by {known}")
    return cast(SelectionOptions, given_in(message, SelectionOptions.__annotations__))


def from_watch_filter(message: pb.RunFilter) -> WatchQuery:
    """Return which runs a request wants to watch; raises InvalidNameError for a part of its filter by which a run would
    come and go."""
    for field, _ in message.ListFields():
        if field.name not in WatchQuery.__annotations__:
            rule = f"runs are watched by {', '.join(WatchQuery.__annotations__)}"
            raise InvalidNameError(f"filter.{field.name}", "", rule)
    return cast(WatchQuery, given_in(message, WatchQuery.__annotations__))


def to_watch_filter(wanted: WatchQuery) -> pb.RunFilter:
    """Return the filter of a watch. Raises what the kernel raises for a part that is not well formed."""
    message = pb.RunFilter()
    put_given(message, wanted)
    return message


def to_order(order: Order) -> pb.RunOrder.ValueType:
    """Return the number of an order."""
    return _ORDERS[order]


def given_order(number: int) -> Order:
    """Return the order in a request; raises InvalidNameError for a number that is none."""
    if number not in _ORDER_OF:
        raise InvalidNameError("order", number, "one of the numbers of flujo.v1.RunOrder")
    return _ORDER_OF[number]
