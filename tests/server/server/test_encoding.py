"""Events as bytes: what a client reads is what the messages would say, made once for all watchers."""

from __future__ import annotations

import pytest

from flujo.client.wire.limits import MAX_ANSWER_BYTES
from flujo.server.encoding import Encodings, Envelope
from flujo.v1 import event_pb2
from flujo.v1 import run_service_pb2 as pb


def framed(event: event_pb2.Event) -> bytes:
    return pb.EventBatch(events=[event]).SerializeToString()


@pytest.mark.parametrize("count", [1, 64, 3000])
def test_a_message_of_bytes_is_that_of_its_events(count: int) -> None:
    """Byte for byte, whatever its size."""
    events = [event_pb2.Event(seq=number, type="run_created") for number in range(count)]
    (made,) = Envelope(pb.WatchRunResponse).batches(
        list(map(framed, events)), lambda done: pb.EventBatch(through_seq=done)
    )

    expected = pb.WatchRunResponse(events=pb.EventBatch(events=events, through_seq=count))
    assert made == expected.SerializeToString()


def test_a_batch_ends_where_a_message_is_full() -> None:
    """And says how far it goes; every event is in one of them."""
    text = "x" * (MAX_ANSWER_BYTES // 3)
    events = [event_pb2.Event(seq=number, type=text) for number in range(5)]
    found = [
        pb.WatchRunResponse.FromString(each).events
        for each in Envelope(pb.WatchRunResponse).batches(
            list(map(framed, events)), lambda done: pb.EventBatch(through_seq=done)
        )
    ]

    assert [each.through_seq for each in found] == [2, 4, 5]
    assert [event.seq for each in found for event in each.events] == [0, 1, 2, 3, 4]


def test_an_event_is_encoded_once() -> None:
    """By its key."""
    encodings, made = Encodings(), []

    def encode(thing: str) -> bytes:
        made.append(thing)
        return thing.encode()

    assert encodings.of([(1, "a"), (2, "b")], encode) == [b"a", b"b"]
    assert encodings.of([(2, "b"), (3, "c")], encode) == [b"b", b"c"]
    assert made == ["a", "b", "c"]


def test_what_is_kept_has_a_bound() -> None:
    """The oldest goes first, and is made anew when it is asked for."""
    encodings, made = Encodings(most=10), []

    def encode(thing: str) -> bytes:
        made.append(thing)
        return thing.encode()

    for thing in ("aaaa", "bbbb", "cccc", "bbbb", "aaaa", "d" * 100, "cccc"):
        assert encodings.of([(thing, thing)], encode) == [thing.encode()]

    assert made == ["aaaa", "bbbb", "cccc", "aaaa", "d" * 100, "cccc"]
