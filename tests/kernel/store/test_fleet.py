"""Who works on a store that several hosts share."""

from __future__ import annotations

from flujo.kernel.backend import Member, MemberState


def test_a_kernel_is_gone_once_it_is_dead_or_closed() -> None:
    """One that drains still works."""
    states = {state: Member("k", "h", 1, "1", state, 0, 1.0, None, None).is_gone for state in MemberState}

    assert states == {"alive": False, "draining": False, "dead": True, "closed": True}
