"""Which runs a caller asks for: the words that `Runs.list` and `Runs.count` take, checked, as a filter of the port."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, TypedDict

from flujo.kernel.errors import InvalidNameError, InvalidValueError
from flujo.kernel.journal.state import RunStatus

from .records import Order, RunFilter

Instant = datetime | int
"""A datetime that knows its zone, or microseconds since 1970-01-01 UTC, as every `*_at` of a run is."""

MAX_TEXT = 4000
"""How many bytes a text that somebody says about a run may have, such as `by` or `reason`."""

MAX_LABELS = 64
MAX_LABEL_NAME = 200
MAX_LABEL = 1000
"""How many bytes the value of a label may have."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
EARLIEST = (datetime.min.replace(tzinfo=UTC) - _EPOCH) // _MICROSECOND
LATEST = (datetime.max.replace(tzinfo=UTC) - _EPOCH) // _MICROSECOND


class RunQuery(TypedDict, total=False):
    """Which runs; every part that is given must match, and without any all runs do.

    Ranges hold their `from` and not their `before`, so that windows side by side count no run twice; a run that has not
    finished is in no range of `finished`. For runs that stand still ask for the statuses `pending`, `running` and
    `waiting` with an `updated_before`."""

    statuses: Sequence[str]
    """In one of these."""

    workflow: str | None
    """Of the workflow of this name."""

    id_prefix: str | None
    """With an id that begins like this."""

    labels: Mapping[str, str] | None
    """With all of these labels."""

    created_from: Instant | None
    created_before: Instant | None
    updated_from: Instant | None
    updated_before: Instant | None
    finished_from: Instant | None
    finished_before: Instant | None

    failed_step: str | None
    """That failed in this step."""

    parent_run_id: str | None
    """That were started by the run of this id."""


def run_filter(
    *,
    statuses: Sequence[str] = (),
    workflow: str | None = None,
    id_prefix: str | None = None,
    labels: Mapping[str, str] | None = None,
    created_from: Instant | None = None,
    created_before: Instant | None = None,
    updated_from: Instant | None = None,
    updated_before: Instant | None = None,
    finished_from: Instant | None = None,
    finished_before: Instant | None = None,
    failed_step: str | None = None,
    parent_run_id: str | None = None,
) -> RunFilter:
    """Return what is wanted, as a filter of the port. Raises InvalidNameError for a status that does not exist, an
    empty text and what is no instant, InvalidValueError for what is no text."""
    return RunFilter(
        statuses=tuple(check_statuses(statuses)),
        workflow=check_wanted("workflow", workflow),
        id_prefix=check_wanted("id_prefix", id_prefix),
        labels=tuple(sorted(check_labels(labels or {}).items())),  # a page token fits one order only
        created_from=check_instant("created_from", created_from),
        created_before=check_instant("created_before", created_before),
        updated_from=check_instant("updated_from", updated_from),
        updated_before=check_instant("updated_before", updated_before),
        finished_from=check_instant("finished_from", finished_from),
        finished_before=check_instant("finished_before", finished_before),
        failed_step=check_wanted("failed_step", failed_step),
        parent=check_wanted("parent_run_id", parent_run_id),
    )


WANTED_TEXTS = ("workflow", "id_prefix", "failed_step", "parent_run_id")
"""The parts of a choice of runs that are texts."""


def check_wanted(what: str, text: str | None) -> str | None:
    """Return the text by which runs are chosen, None for all of them. Raises InvalidNameError for an empty one: where a
    variable was empty by mistake it would choose, and delete, every run; InvalidValueError for what is no text."""
    if check_text(what, text) == "":
        raise InvalidNameError(what, "", "a text by which runs are chosen; None, or leaving it out, means all runs")
    return text


def check_instant(what: str, given: Instant | None) -> int | None:
    """Return an instant in microseconds, None for None; raises InvalidNameError."""
    if given is None:
        return None
    if isinstance(given, datetime):
        if given.utcoffset() is None:
            raise InvalidNameError(what, given.isoformat(), "a datetime with its zone, such as datetime.now(UTC)")
        return (given - _EPOCH) // _MICROSECOND
    if isinstance(given, bool) or not isinstance(given, int) or not EARLIEST <= given <= LATEST:
        raise InvalidNameError(what, given, "a datetime with its zone, or microseconds since 1970 in UTC")
    return given


def check_order(order: str) -> Order:
    """Return the order itself; raises InvalidNameError for one that does not exist."""
    if order not in tuple(Order):
        raise InvalidNameError("order", order, f"one of {', '.join(Order)}")
    return Order(order)


def check_labels(labels: Mapping[str, str]) -> Mapping[str, str]:
    """Return the labels themselves; raises InvalidValueError for one that is not text, InvalidNameError for one that is
    too long or has no name, and for too many."""
    if len(given := check_mapping("labels", labels)) > MAX_LABELS:
        raise InvalidNameError("labels", f"{len(given)} labels", f"at most {MAX_LABELS} of them")
    for name, value in given.items():
        if not isinstance(value, str):
            raise InvalidValueError(f"labels.{name}", f"a label is text, not {type(value).__name__}")
        if not check_text(f"labels.{name}", name, MAX_LABEL_NAME):
            raise InvalidNameError("labels", name, "a label has a name")
        check_text(f"labels.{name}", value, MAX_LABEL)
    return labels


def check_statuses(statuses: Iterable[str]) -> Sequence[RunStatus]:
    """Return the statuses themselves; raises InvalidNameError for one that does not exist."""
    if isinstance(statuses, str) or not isinstance(statuses, Iterable):
        raise InvalidNameError("run statuses", statuses, f"a list of {', '.join(RunStatus)}")
    statuses = tuple(statuses)
    for status in statuses:
        if status not in tuple(RunStatus):
            raise InvalidNameError("run status", status, f"one of {', '.join(RunStatus)}")
    return [RunStatus(status) for status in statuses]


_LARGEST = 2**63 - 1


def check_limit(limit: int) -> int:
    """Return the limit itself; raises InvalidNameError for what is no whole number, or lets nothing through, or is
    larger than a store can count."""
    if isinstance(limit, bool) or not isinstance(limit, int) or not 1 <= limit <= _LARGEST:
        raise InvalidNameError("limit", limit, "how many at most, from 1 to 2^63 - 1")
    return limit


def check_after_seq(seq: int) -> int:
    """Return the number of the event to begin behind, 0 for the first; raises InvalidNameError for what no call can
    hold."""
    if isinstance(seq, bool) or not isinstance(seq, int) or not 0 <= seq < 2**64:
        raise InvalidNameError("event number", seq, "a whole number from 0 on, as events have in `seq`")
    return seq


def check_text(what: str, text: str | None, limit: int = MAX_TEXT) -> str | None:
    """Return the text itself; raises InvalidValueError for what is no text, and for one that UTF-8 cannot hold, and so
    neither a journal nor a call; InvalidNameError for one of more than `limit` bytes, or with a NUL in it."""
    if text is not None:
        if not isinstance(text, str):
            raise InvalidValueError(what, f"it is text, not {type(text).__name__}")
        try:
            size = len(text.encode())
        except UnicodeEncodeError as error:
            raise InvalidValueError(what, str(error)) from None
        if size > limit:
            raise InvalidNameError(what, f"{text[:20]}…", f"it has {size} bytes, and may have {limit}")
        if "\0" in text:
            raise InvalidNameError(what, text, "a text without NUL")
    return text


def check_mapping(what: str, given: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return what is given by name as a dict, empty for None; raises InvalidValueError for what has no names."""
    if given is None:
        return {}
    if not isinstance(given, Mapping):
        raise InvalidValueError(what, f"it is a mapping of names, not {type(given).__name__}")
    return dict(given)
