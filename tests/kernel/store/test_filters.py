"""The words of `list` and `count`, as a filter of the port: what is understood, and what is refused by its name."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest

from flujo.kernel import Order, RunFilter
from flujo.kernel.errors import InvalidNameError, InvalidValueError
from flujo.kernel.store.filters import (
    EARLIEST,
    LATEST,
    WANTED_TEXTS,
    check_instant,
    check_limit,
    check_order,
    run_filter,
)


def test_nothing_wanted_is_a_filter_that_matches_all() -> None:
    """No label and no status are nothing wanted, too."""
    assert run_filter() == run_filter(labels={}, statuses=[]) == RunFilter()


@pytest.mark.parametrize("part", WANTED_TEXTS)
def test_an_empty_text_chooses_no_run(part: str) -> None:
    """Every run would be chosen where a variable was empty by mistake."""
    with pytest.raises(InvalidNameError, match=f"{part}.*leaving it out"):
        run_filter(**{part: ""})  # type: ignore[arg-type]


def test_every_part_comes_to_its_place() -> None:
    """Labels are sorted, because a page token fits one order of them only."""
    made = run_filter(
        statuses=["failed"],
        workflow="w",
        id_prefix="r-",
        labels={"b": "2", "a": "1"},
        created_from=1,
        created_before=2,
        updated_from=3,
        updated_before=4,
        finished_from=5,
        finished_before=6,
        failed_step="s",
        parent_run_id="p",
    )

    assert made == RunFilter(
        statuses=("failed",),
        workflow="w",
        id_prefix="r-",
        labels=(("a", "1"), ("b", "2")),
        created_from=1,
        created_before=2,
        updated_from=3,
        updated_before=4,
        finished_from=5,
        finished_before=6,
        failed_step="s",
        parent="p",
    )


@pytest.mark.parametrize(
    ("given", "micros"),
    [
        (None, None),
        (0, 0),
        (EARLIEST, EARLIEST),
        (LATEST, LATEST),
        (datetime(1970, 1, 1, 0, 0, 1, 5, UTC), 1_000_005),
        (datetime(1969, 12, 31, 23, 59, 59, tzinfo=UTC), -1_000_000),
        (datetime(1970, 1, 1, 2, tzinfo=timezone(timedelta(hours=2))), 0),
        (datetime.max.replace(tzinfo=UTC), LATEST),
        (datetime.min.replace(tzinfo=UTC), EARLIEST),
    ],
)
def test_an_instant_is_exact_to_the_microsecond(given: datetime | int | None, micros: int | None) -> None:
    """In any zone, before 1970 as after it, to both ends of what a datetime can say."""
    assert check_instant("created_from", given) == micros


@pytest.mark.parametrize("given", [datetime(2026, 1, 1), True, 1.5, "2026-01-01", EARLIEST - 1, LATEST + 1])
def test_what_is_no_instant_is_refused_by_its_name(given: Any) -> None:
    """A datetime without a zone means another instant on every machine."""
    with pytest.raises(InvalidNameError) as refused:
        run_filter(finished_before=given)

    assert refused.value.what == "finished_before"


@pytest.mark.parametrize(
    ("wanted", "error", "field"),
    [
        ({"statuses": ["done"]}, InvalidNameError, "done"),
        ({"labels": {"a": 1}}, InvalidValueError, "labels.a"),
        ({"labels": {"a": "\ud800"}}, InvalidValueError, "labels.a"),
        ({"labels": {"\ud800": "a"}}, InvalidValueError, "labels."),
        ({"workflow": "\ud800"}, InvalidValueError, "workflow"),
        ({"failed_step": "\ud800"}, InvalidValueError, "failed_step"),
    ],
)
def test_what_is_no_part_is_refused_by_its_name(wanted: Any, error: type[Exception], field: str) -> None:
    """A status that does not exist, a label that is no text, a text that UTF-8 cannot hold."""
    with pytest.raises(error, match=field):
        run_filter(**wanted)


def test_orders_and_limits_are_checked() -> None:
    """An order is one of two, a limit lets at least one through."""
    assert (check_order("updated"), check_limit(1)) == (Order.UPDATED, 1)
    with pytest.raises(InvalidNameError, match="newest"):
        check_order("newest")
    with pytest.raises(InvalidNameError, match="limit"):
        check_limit(0)
