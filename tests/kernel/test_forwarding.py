"""Calls that an object leaves to a part of it."""

from __future__ import annotations

import inspect

from flujo.kernel import Kernel, Observer
from flujo.kernel.forwarding import forwarded
from flujo.kernel.ownership.many_runs import ManyRuns


class Bell:
    """Rings."""

    def ring(self, times: int, *, sound: str = "ding") -> str:
        """Ring so many times."""
        return sound * times


class Door:
    """Has a bell, which may be replaced."""

    _bell: Bell

    def __init__(self) -> None:
        self._bell = Bell()

    ring = forwarded("_bell", Bell.ring)


def test_a_forwarded_call_is_that_of_the_part() -> None:
    """With its parameters, its name and its documentation."""
    assert Door().ring(2, sound="dong") == "dongdong"
    assert (Door.ring.__name__, Door.ring.__doc__) == ("ring", "Ring so many times.")
    assert str(inspect.signature(Door.ring)) == "(self, times: 'int', *, sound: 'str' = 'ding') -> 'str'"


def test_a_kernel_overrides_no_call_that_it_leaves_to_a_part() -> None:
    """A reader of `Kernel` finds each of its calls in one place."""
    left = {name for part in Kernel.__mro__[1:-1] for name in vars(part) if not name.startswith("_")}

    assert {"inspect", "cancel_runs", "put_workflow"} <= left
    assert not left & set(vars(Kernel))
    assert Kernel.inspect.__wrapped__ is Observer.inspect  # type: ignore[attr-defined]
    assert Kernel.cancel_runs.__wrapped__ is ManyRuns.cancel_runs  # type: ignore[attr-defined]
