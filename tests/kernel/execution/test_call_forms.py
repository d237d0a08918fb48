"""A call of a completed step binds by what the body is given, however the call is written and wherever it is bound."""

from __future__ import annotations

import operator
from array import array
from collections import UserList, UserString, deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from decimal import Decimal
from fractions import Fraction
from functools import partial
from ipaddress import ip_address
from re import compile as pattern
from types import SimpleNamespace
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

import pytest
from pydantic import BaseModel

from flujo.kernel import Context, RunStatus, Workflow, step, workflow
from flujo.kernel.execution.arguments import digest_arguments, digest_item
from flujo.kernel.execution.call_forms import (
    as_recorded,
    binds_nothing,
    digest_call,
    forms_of_call,
    forms_of_item,
    forms_of_values,
)
from kernel.harness import Harness, crash, until

paid: list[Any] = []


@pytest.fixture(autouse=True)
def _nothing_has_been_paid() -> None:
    paid.clear()


async def pay(amount: Any, currency: str = "EUR", *, note: str | None = None) -> str:
    paid.append(amount)
    return "paid"


async def pay_only(amount: Any, /, *more: Any, **named: Any) -> str:
    return "paid"


declared = step(name="pay")(pay)


class Account:
    """An object of no library, with what it was made with and what it has gathered since."""

    def __init__(self, number: int, service: object = None, history: list[int] | None = None) -> None:
        self._number = number
        self.service = service
        self.history = history or []
        self.calls = 0

    async def pay(self, amount: int) -> str:
        self.calls += 1
        return "paid"

    @step
    async def deposit(self, amount: int) -> str:
        return "paid"

    @classmethod
    async def close(cls, amount: int) -> str:
        return "paid"


class Payment(Account):
    """One that is called itself."""

    async def __call__(self, amount: int) -> str:
        return "paid"


@dataclass
class Purse:
    """A dataclass with a method that is a step, and something that nobody gives it."""

    owner: str
    taken: int = field(default=0, init=False)

    async def pay(self, amount: int) -> str:
        return "paid"


class Model(BaseModel):
    """A model with one."""

    owner: str

    async def pay(self, amount: int) -> str:
        return "paid"


class Pair(NamedTuple):
    """A tuple with one."""

    owner: str

    async def pay(self, amount: int) -> str:
        return "paid"


class Lazy:
    """Raises when it is looked at."""

    def __init__(self, number: int) -> None:
        self.made_with = number

    def __getattr__(self, name: str) -> Any:
        raise RuntimeError(name)

    async def pay(self, amount: int) -> str:
        return "paid"


used = Account(1)
used.history, used.calls = [1, 2], 7

Call = tuple[Callable[..., Any], tuple[Any, ...], dict[str, Any]]


def call(function: Callable[..., Any], *args: Any, **kwargs: Any) -> Call:
    return function, args, kwargs


def is_the_same(before: Call, after: Call) -> bool:
    """Whether the second call is taken for the first one, which is recorded."""
    recorded, digest = digest_call(*before), digest_call(*after)
    return as_recorded(recorded, digest, forms_of_call(*after)) == recorded


SAME = {
    "by name": (call(pay, 5), call(pay, amount=5)),
    "by place": (call(pay, amount=5), call(pay, 5)),
    "a default written out": (call(pay, 5), call(pay, 5, "EUR")),
    "a default by name": (call(pay, 5), call(pay, 5, currency="EUR")),
    "all defaults": (call(pay, 5), call(pay, amount=5, currency="EUR", note=None)),
    "a default left out": (call(pay, 5, "EUR"), call(pay, 5)),
    "one of two defaults left out": (call(pay, 5, "EUR", note=None), call(pay, 5, note=None)),
    "another default written out": (call(pay, 5, note=None), call(pay, 5, "EUR")),
    "names in another order": (call(pay, amount=5, note="x"), call(pay, note="x", amount=5)),
    "more by place": (call(pay_only, 1, 2, a=3), call(pay_only, 1, 2, a=3.0)),
    "a number": (call(pay, 5), call(pay, 5.0)),
    "a fraction": (call(pay, 5.0), call(pay, 5)),
    "numbers within": (call(pay, {"a": [1, 2.0]}), call(pay, {"a": [1.0, 2]})),
    "many numbers": (call(pay, list(range(20))), call(pay, list(map(float, range(20))))),
    "a number by name": (call(pay, 5), call(pay, amount=5.0)),
    "a number beside an object": (call(pay, [Decimal(1), 5]), call(pay, [Decimal(1), 5.0])),
    "a partial": (call(partial(pay, 5)), call(partial(pay, 5))),
    "a partial, unfolded": (call(partial(pay, 5), "USD"), call(pay, 5, "USD")),
    "a partial by name": (call(partial(pay, note="x"), 5), call(pay, 5, note="x")),
    "a partial of a partial": (call(partial(partial(pay, 5), "USD")), call(partial(pay, 5, "USD"))),
    "a partial of a step": (call(partial(declared, 5)), call(partial(pay, 5))),
    "a name that is overridden": (call(partial(pay, note="x"), 5, note="y"), call(pay, 5, note="y")),
    "a method": (call(Account(1).pay, 5), call(Account(1).pay, amount=5)),
    "what an object has gathered": (call(Account(1).pay, 5), call(used.pay, 5)),
    "another service": (call(Account(1).pay, 5), call(Account(2, object()).pay, 5)),
    "a partial of another service": (call(partial(Account(1).pay, 5)), call(partial(Account(2).pay, 5))),
    "a step of another service": (call(Account(1).deposit, 5), call(Account(2).deposit, 5)),
    "a step of an object": (call(Account(1).deposit, 5), call(Account(1).deposit, 5)),
    "a method of a class": (call(Account.close, 5), call(Payment.close, 5)),
    "a dataclass": (call(Purse("a").pay, 5), call(Purse("a").pay, 5)),
    "an object that raises": (call(Lazy(1).pay, 5), call(Lazy(2).pay, 5)),
    "of a module": (call(operator.neg, 5), call(operator.neg, 5)),
}


@pytest.mark.parametrize("name", SAME)
def test_the_same_call_written_otherwise_is_the_same(name: str) -> None:
    """Both ways round: whichever stands in the journal."""
    before, after = SAME[name]

    assert is_the_same(before, after)
    assert is_the_same(after, before)


OTHER = {
    "another argument": (call(pay, 5), call(pay, amount=50)),
    "another default": (call(pay, 5), call(pay, 5, "USD")),
    "another default by name": (call(pay, 5), call(pay, 5, note="x")),
    "true for one": (call(pay, 1), call(pay, True)),
    "a text for a number": (call(pay, 5), call(pay, "5")),
    "another fraction": (call(pay, 5), call(pay, 5.5)),
    "numbers beyond what is exact": (call(pay, 2**53 + 1), call(pay, float(2**53 + 1))),
    "one of many numbers": (call(pay, list(range(20))), call(pay, [*range(19), 20])),
    "a partial": (call(partial(pay, 5)), call(partial(pay, 50))),
    "a partial by name": (call(partial(pay, note="x"), 5), call(partial(pay, note="y"), 5)),
    "a partial of a partial": (call(partial(partial(pay, 5), "USD")), call(partial(partial(pay, 50), "USD"))),
    "a partial of a method": (call(partial(Purse("a").pay, 5)), call(partial(Purse("b").pay, 5))),
    "a partial with an object": (call(partial(pay, [object(), 5])), call(partial(pay, [object(), 50]))),
    "an object that is called": (call(Payment(1), 5), call(Payment(2), 5)),
    "a dataclass": (call(Purse("a").pay, 5), call(Purse("b").pay, 5)),
    "a model": (call(Model(owner="a").pay, 5), call(Model(owner="b").pay, 5)),
    "a tuple": (call(Pair("a").pay, 5), call(Pair("b").pay, 5)),
    "a text": (call("a".join, ["x", "y"]), call("b".join, ["x", "y"])),
    "a deque": (call(pay, deque([1])), call(pay, deque([2]))),
    "a range": (call(pay, range(3)), call(pay, range(4))),
    "an array": (call(pay, array("i", [1])), call(pay, array("i", [2]))),
    "a fraction of whole numbers": (call(pay, Fraction(1, 3)), call(pay, Fraction(2, 3))),
    "a complex number": (call(pay, 1j), call(pay, 2j)),
    "a view of bytes": (call(pay, memoryview(b"a")), call(pay, memoryview(b"b"))),
    "an address": (call(pay, ip_address("10.0.0.1")), call(pay, ip_address("10.0.0.2"))),
    "a zone": (call(pay, ZoneInfo("Europe/Paris")), call(pay, ZoneInfo("Europe/Rome"))),
    "a pattern": (call(pay, pattern("a")), call(pay, pattern("b"))),
    "a namespace": (call(pay, SimpleNamespace(a=1)), call(pay, SimpleNamespace(a=2))),
    "a list of the user's": (call(pay, UserList([1])), call(pay, UserList([2]))),
    "a text of the user's": (call(pay, UserString("a")), call(pay, UserString("b"))),
}


@pytest.mark.parametrize("name", OTHER)
def test_another_call_is_another_one(name: str) -> None:
    """Wherever the difference is: in the call, or in what the step was made of."""
    before, after = OTHER[name]

    assert not is_the_same(before, after)
    assert not is_the_same(after, before)


@pytest.mark.parametrize(
    ("recorded", "now"),
    [
        ("2843f7bc", call(partial(pay, currency="USD"), 5)),
        ("2843f7bc", call(Purse("a").pay, 5)),
        ("0", call(partial(pay, 5))),
        ("e04e268fcc525067", call(pay, deque([1, 2]))),
        ("e04e268fcc525067", call(pay, Fraction(1, 3))),
    ],
    ids=["a partial", "a method", "a partial alone", "a deque", "a fraction"],
)
def test_what_earlier_releases_recorded_is_still_the_same_call(recorded: str, now: Call) -> None:
    """They did not look at what is bound, and took such values for any object: a run of theirs goes on."""
    assert digest_call(*now) != recorded
    assert as_recorded(recorded, digest_call(*now), forms_of_call(*now)) == recorded
    assert as_recorded("beef", digest_call(*now), forms_of_call(*now)) == digest_call(*now)


def test_a_plain_call_is_digested_as_by_earlier_releases() -> None:
    """Whatever may be told of a call besides is told when its digest differs, so that no program pays for it."""
    assert digest_call(pay, (5,), {}) == digest_arguments((5,), {}) == "2843f7bc"
    assert step(pay).digest is digest_arguments
    assert binds_nothing(pay)
    assert not binds_nothing(partial(pay, 5))


def test_a_version_stays_beside_the_recorded_arguments() -> None:
    """What it says, that a change is meant, is decided by it alone."""
    recorded, digest = digest_arguments((5,), {}), digest_arguments((5.0,), {})

    assert as_recorded(recorded, f"v2/{digest}", forms_of_values((5.0,), {})) == f"v2/{recorded}"
    assert as_recorded(f"v1/{recorded}", f"v1/{digest}", forms_of_values((5.0,), {})) == f"v1/{recorded}"
    assert as_recorded(None, digest, iter([None])) == digest
    assert as_recorded(recorded, None, iter([recorded])) is None


def test_items_are_compared_like_arguments() -> None:
    """By equal numbers, and as earlier releases saw them."""
    assert as_recorded(digest_item(5), digest_item(5.0), forms_of_item(5.0)) == digest_item(5)
    assert as_recorded(digest_item(5), digest_item(6), forms_of_item(6)) == digest_item(6)
    assert digest_item(deque([1])) != digest_item(object())
    assert as_recorded(digest_item(object()), digest_item(deque([1])), forms_of_item(deque([1]))) == digest_item(
        object()
    )


def test_a_call_of_any_size_is_looked_through_in_few_ways() -> None:
    """There are thousands of numbers in it, and a function with many defaults: not every combination is tried."""
    big = [[number, float(number)] for number in range(500)]
    many: Any = eval(f"lambda big, {', '.join(f'a{index}=0' for index in range(30))}: None")

    assert len(list(forms_of_call(many, (big,), {}))) < 1_000


# -- in a kernel -----------------------------------------------------------------------------------------------------

Asking = Callable[[Context], Awaitable[Any]]


def asking(ask: Asking) -> Workflow:
    """A workflow that makes a call and then waits."""

    @workflow(name="flow")
    async def flow(ctx: Context) -> Any:
        answer = await ask(ctx)
        await ctx.wait_signal("go")
        return answer

    return flow


async def state_after(before: Asking, after: Asking) -> Any:
    """The run that was begun by one program and crashed, once another one has gone on with it."""
    harness = Harness()
    async with harness.kernel(asking(before)) as kernel:
        await kernel.start("flow", run_id="r")
        await until(kernel, "r", "step_waiting")
        crash(kernel)
    async with harness.kernel(asking(after)) as kernel:
        await kernel.signal("r", "go")
        return await kernel.wait("r")


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (lambda ctx: ctx.step(pay, 5), lambda ctx: ctx.step(pay, amount=5.0, currency="EUR")),
        (lambda ctx: ctx.step(pay, 5, name="pay"), lambda ctx: ctx.step(partial(pay, currency="USD"), 5, name="pay")),
        (lambda ctx: ctx.map(pay, [5], name="pay"), lambda ctx: ctx.map(partial(pay, note="x"), [5.0], name="pay")),
    ],
    ids=["written otherwise", "of an earlier release", "items of an earlier release"],
)
async def test_a_run_goes_on_where_nothing_has_changed(before: Asking, after: Asking) -> None:
    """Nothing is paid twice, and nobody is asked."""
    state = await state_after(before, after)

    assert state.status is RunStatus.COMPLETED
    assert len(paid) == 1


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (partial(pay, 5), partial(pay, 50)),
        (partial(pay, currency="EUR", amount=5), partial(pay, currency="USD", amount=5)),
        (partial(Purse("a").pay, 5), partial(Purse("b").pay, 5)),
        (partial(Payment(1), 5), partial(Payment(2), 5)),
    ],
    ids=["an argument", "one by name", "a method", "an object"],
)
async def test_what_is_bound_in_a_step_binds_the_run(before: Any, after: Any) -> None:
    """As an argument of the call does: the run is paused, and the step is named."""
    state = await state_after(lambda ctx: ctx.step(before, name="pay"), lambda ctx: ctx.step(after, name="pay"))

    assert (state.status, state.paused_reason) == (RunStatus.PAUSED, "StateIncompatible")
    assert [each[0] for each in state.differences] == ["pay"]


async def test_items_of_a_partial_run_again_when_what_is_bound_has_changed() -> None:
    """As those do whose own value has."""
    state = await state_after(
        lambda ctx: ctx.map(partial(pay, currency="EUR"), [5, 6], name="pay"),
        lambda ctx: ctx.map(partial(pay, currency="USD"), [5, 6], name="pay"),
    )

    assert state.status is RunStatus.COMPLETED
    assert sorted(paid) == [5, 5, 6, 6]
