"""What is recorded of an error, and the names by which retry rules know it: groups, causes and notes included."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import anyio
import pytest

from flujo.kernel import Context, RetryPolicy, RunFailed, step, workflow
from flujo.kernel.journal.failures import (
    MAX_DETAILS,
    carried,
    cause_of,
    causes,
    describe,
    error_kinds,
    error_type,
    members,
    text_of,
)
from kernel.awkward import DEPTH, OrderError, chained, in_a_circle, nested
from kernel.harness import Harness, JumpingClock

# -- what the record says ------------------------------------------------------------------------------------------


def raised(error: BaseException, cause: BaseException | None = None) -> BaseException:
    """The error with a traceback, as one has that was caught."""
    try:
        raise error from cause
    except BaseException as caught:
        return caught


def test_a_group_is_recorded_as_its_first_member_with_all_the_others() -> None:
    """The type is that of the first one, the text names each, and the details hold every traceback."""
    group = BaseExceptionGroup("two", [raised(ConnectionError("refused")), raised(ValueError("bad"))])

    failure = describe(raised(group), "it", 2)

    assert failure.type == "ConnectionError"
    assert failure.message == "refused (and 1 more: ValueError: bad)"
    assert failure.details is not None
    for said in ("ConnectionError: refused", "ValueError: bad", "ExceptionGroup: two", "in raised"):
        assert said in failure.details


def test_a_group_of_one_is_recorded_as_that_one() -> None:
    """A task group around a single call does not change how its error reads."""
    failure = describe(ExceptionGroup("unhandled errors in a TaskGroup", [ConnectionError("refused")]))

    assert (failure.type, failure.message) == ("ConnectionError", "refused")


def test_what_an_error_was_raised_from_is_recorded() -> None:
    """The cause stands before the error it led to, with its type, text and traceback."""
    failure = describe(raised(RuntimeError("no page"), raised(ConnectionError("refused"))))

    assert (failure.type, failure.message) == ("RuntimeError", "no page")
    assert failure.details is not None
    assert failure.details.index("ConnectionError: refused") < failure.details.index("RuntimeError: no page")


def test_of_long_details_the_end_is_kept() -> None:
    """There the last of what was raised stands."""
    error = raised(ValueError("the first"))
    for number in range(200):
        error = raised(RuntimeError(f"number {number} of many" + " more" * 100), error)

    details = describe(error).details

    assert details is not None
    assert details.startswith("…")
    assert len(details) == MAX_DETAILS + 1
    assert "number 198 of many" in details
    assert "the first" not in details


def test_so_are_the_members_of_a_group_that_it_was_raised_from() -> None:
    """Each with its type, text and traceback: the text of a group says only how many there are."""
    group = BaseExceptionGroup("two", [raised(ConnectionError("refused")), raised(ValueError("bad"))])

    details = describe(raised(RuntimeError("no page"), raised(group))).details

    assert details is not None
    for said in ("ConnectionError: refused", "ValueError: bad", "ExceptionGroup: two"):
        assert details.index(said) < details.index("RuntimeError: no page")


def test_notes_are_part_of_the_text() -> None:
    """`add_note` is how libraries say where an error came from."""
    error = ValueError("bad")
    error.add_note("in row 7")

    assert describe(error).message == "bad\nin row 7"


def test_an_error_without_readable_text_says_why() -> None:
    """The class and what its __str__ raised stand in for the text."""
    assert text_of(OrderError(17)) == "(OrderError, whose text cannot be had: its __str__ raised IndexError)"


def test_what_an_error_carries_ends_however_it_is_chained() -> None:
    """A circle, a long chain and a deep group are each walked through once."""
    assert len(list(carried(in_a_circle()))) == 2
    assert len(list(causes(chained(DEPTH), cause_of))) == DEPTH
    assert [error_type(each) for each in members(nested(DEPTH))] == ["ConnectionError"]
    assert "builtins.ConnectionError" in error_kinds(nested(DEPTH))[0]


def test_a_chain_that_leads_into_a_circle_ends() -> None:
    """Each error of the circle is met once, also where the first one does not belong to it."""
    outside, first, second = ValueError("outside"), ValueError("first"), ValueError("second")
    outside.__cause__, first.__cause__, second.__cause__ = first, second, first

    assert list(causes(outside, cause_of)) == [first, second]


def test_groups_of_groups_in_causes_are_walked_through_once() -> None:
    """Also where a group was raised from what holds itself, where groups lie thousands deep in causes, and where there
    would be millions of pairs of errors."""
    outer = RuntimeError("outer")
    outer.__cause__ = group = ExceptionGroup("it", [ConnectionError(), outer])
    deep: BaseException = ConnectionError()
    for _ in range(DEPTH):
        deep.__cause__ = None
        around = RuntimeError()
        around.__cause__ = BaseExceptionGroup("g", [deep])
        deep = around
    wide: BaseException = ValueError()
    for level in range(4):
        several = ExceptionGroup("g", [type(f"E{level}_{number}", (Exception,), {})() for number in range(60)])
        several.__cause__ = wide
        wide = several

    assert [("ConnectionError" in kind, "RuntimeError" in kind) for kind in error_kinds(outer)] == [(True, True)]
    assert len(error_kinds(group)) == 2
    assert "RuntimeError" in error_kinds(deep)[0]
    assert 60 <= len(error_kinds(wide)) <= 3600
    assert "ValueError" in error_kinds(wide)[0]


# -- retry rules ---------------------------------------------------------------------------------------------------


async def call(error: BaseException) -> None:
    raise error


async def _in_a_group(*errors: BaseException) -> None:
    raise BaseExceptionGroup("several", errors)


async def _in_a_task_group(*errors: BaseException) -> None:
    async with anyio.create_task_group() as group:
        for error in errors:
            group.start_soon(call, error)


async def _as_a_cause(*errors: BaseException) -> None:
    raise RuntimeError("wrapped") from errors[0]


async def _from_a_group(*errors: BaseException) -> None:
    raise RuntimeError("wrapped") from BaseExceptionGroup("several", errors)


async def _deep_in_causes(*errors: BaseException) -> None:
    """Of groups in groups, each raised from something, the last from what the errors are in."""
    inner = RuntimeError("inner")
    inner.__cause__ = BaseExceptionGroup("deep", [BaseExceptionGroup("deeper", errors)])
    raise BaseExceptionGroup("outer", [inner]) from RuntimeError("beside")


async def _group_from_a_group(*errors: BaseException) -> None:
    raise BaseExceptionGroup("later", [KeyError(), RuntimeError()]) from BaseExceptionGroup("earlier", errors)


async def _while_handled(*errors: BaseException) -> None:
    try:
        raise errors[0]
    except BaseException:
        raise RuntimeError("another one")  # noqa: B904 - that it has a context and no cause is the point


Failing = Callable[..., Awaitable[None]]


@pytest.mark.parametrize(
    ("fail", "errors", "rules", "attempts"),
    [
        (_in_a_task_group, [ConnectionError()], {"on_error": ["ConnectionError"]}, 3),
        (_in_a_task_group, [ConnectionError(), TimeoutError()], {"on_error": ["OSError"]}, 3),
        (_in_a_group, [ConnectionError(), ValueError()], {"on_error": ["ConnectionError"]}, 1),
        (_in_a_group, [ConnectionError(), ValueError()], {"give_up_on": ["ValueError"]}, 1),
        (_in_a_group, [ConnectionError(), ValueError()], {}, 3),
        (_in_a_group, [ConnectionError(), ValueError()], {"on_error": ["ExceptionGroup"]}, 3),
        (_as_a_cause, [ConnectionError()], {"on_error": ["ConnectionError"]}, 3),
        (_as_a_cause, [KeyError()], {"give_up_on": ["LookupError"]}, 1),
        (_from_a_group, [ConnectionError(), TimeoutError()], {"on_error": ["OSError"]}, 3),
        (_from_a_group, [ConnectionError(), ValueError()], {"on_error": ["ConnectionError"]}, 1),
        (_from_a_group, [ConnectionError(), ValueError()], {"on_error": ["RuntimeError"]}, 3),
        (_from_a_group, [ConnectionError(), ValueError()], {"give_up_on": ["ValueError"]}, 1),
        (_from_a_group, [ConnectionError(), ValueError()], {"on_error": ["ExceptionGroup"]}, 3),
        (_deep_in_causes, [ConnectionError(), ValueError()], {"on_error": ["ConnectionError"]}, 1),
        (_deep_in_causes, [ConnectionError(), TimeoutError()], {"on_error": ["OSError"]}, 3),
        (_deep_in_causes, [ConnectionError(), ValueError()], {"give_up_on": ["ValueError"]}, 1),
        (_group_from_a_group, [ConnectionError(), ValueError()], {"on_error": ["OSError", "ValueError"]}, 3),
        (_group_from_a_group, [ConnectionError(), ValueError()], {"on_error": ["OSError", "KeyError"]}, 1),
        (_while_handled, [ConnectionError()], {"on_error": ["ConnectionError"]}, 1),
    ],
    ids=[
        "group",
        "two of a base",
        "one of two",
        "give up on one",
        "no rule",
        "the group",
        "cause",
        "give up",
        "from a group, a base of all",
        "from a group, one of two",
        "from a group, itself",
        "from a group, give up on one",
        "from a group, the group",
        "deep, one of two",
        "deep, a base of all",
        "deep, give up on one",
        "two groups, all of one",
        "two groups, some of each",
        "context",
    ],
)
async def test_retry_rules_look_into_what_an_error_carries(
    fail: Failing, errors: list[BaseException], rules: dict[str, Any], attempts: int
) -> None:
    """Every error of a group has to be worth a retry, one that is not decides, and causes count; contexts do not."""
    seen: list[int] = []

    @step(retry=RetryPolicy(max_attempts=3, delay="1s", **rules))
    async def it() -> None:
        seen.append(1)
        await fail(*errors)

    @workflow()
    async def flow(ctx: Context) -> None:
        await ctx.step(it)

    async with Harness(JumpingClock()).kernel(flow) as kernel:
        with pytest.raises(RunFailed):
            await kernel.run(flow)

    assert len(seen) == attempts
