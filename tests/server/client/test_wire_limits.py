"""What a request may not hold, whatever the field is called; and where answers end."""

from __future__ import annotations

from typing import Any

import pytest
from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

from flujo.client.wire.limits import Room, fitting, shorten, shortened, violations
from flujo.v1 import run_pb2
from flujo.v1 import run_service_pb2 as pb
from flujo.v1.payload_pb2 import Definition, Payload

WRONG: list[tuple[str, Any]] = [
    ("view", pb.GetRunRequest(view=7)),  # type: ignore[arg-type]
    ("order", pb.ListRunsRequest(order=7)),  # type: ignore[arg-type]
    ("filter.statuses[1]", pb.CountRunsRequest(filter=pb.RunFilter(statuses=[1, 99]))),  # type: ignore[list-item]
    ("part", pb.ReadPayloadRequest(part=77)),  # type: ignore[arg-type]
    ("page_size", pb.ListRunsRequest(page_size=-1)),
    ("max_runs", pb.PruneRunsRequest(max_runs=-1)),
    ("keep_last", pb.PruneRunsRequest(keep_last=-1)),
    ("max_wait", pb.WaitRunRequest(max_wait=Duration(seconds=-1))),
    ("max_wait", pb.WaitRunRequest(max_wait=Duration(nanos=-1))),
    ("max_wait", pb.WaitRunRequest(max_wait=Duration(seconds=1, nanos=-5))),
    ("older_than", pb.PruneRunsRequest(older_than=Duration(seconds=2**40))),
    ("window", pb.GetStatsRequest(window=Duration(nanos=1_000_000_000))),
    ("filter.created_from", pb.ListRunsRequest(filter=pb.RunFilter(created_from=Timestamp(seconds=2**40)))),
    ("filter.created_from", pb.ListRunsRequest(filter=pb.RunFilter(created_from=Timestamp(nanos=-1)))),
    ("labels", pb.StartRunRequest(labels={"": "x"})),
    ("labels", pb.StartRunRequest(labels={"a\0": "x"})),
    ("labels", pb.StartRunRequest(labels={"a": "x\0"})),
    ("filter.labels", pb.ListRunsRequest(filter=pb.RunFilter(labels={"": "x"}))),
    ("reason", pb.CancelRunRequest(reason="a\0b")),
    ("retry[1]", pb.ResumeRunRequest(retry=["a", "b\0"])),
    ("definition.name", pb.StartRunRequest(definition=Definition(name="x" * 5000))),
    ("payload.content_type", pb.SignalRunRequest(payload=Payload(content_type="x" * 101))),
]


@pytest.mark.parametrize(("path", "request_"), WRONG, ids=[path for path, _ in WRONG])
def test_what_no_field_of_the_type_may_hold_is_named_by_its_path(path: str, request_: Any) -> None:
    """And nothing else of the request is."""
    assert [violation.path for violation in violations(request_)] == [path]


@pytest.mark.parametrize(
    ("duration", "rule"),
    [
        (Duration(nanos=1_000_000_000), "a duration of at most 999999999 ns beside its seconds"),
        (Duration(seconds=2**40), "a duration of a century at most"),
        (Duration(seconds=-1), "a duration that is not negative"),
    ],
)
def test_what_is_wrong_with_a_duration_is_told(duration: Duration, rule: str) -> None:
    """Each by the rule that it breaks."""
    (violation,) = violations(pb.StartRunRequest(timeout=duration))
    assert violation.rule == rule


@pytest.mark.parametrize(
    "request_",
    [
        pb.StartRunRequest(workflow="w", run_id="r", labels={"a": ""}, inputs=Payload(json="{}")),
        pb.WaitRunRequest(max_wait=Duration(), view=run_pb2.RUN_VIEW_FULL),
        pb.WaitRunRequest(max_wait=Duration(seconds=100 * 366 * 24 * 3600)),
        pb.ListRunsRequest(filter=pb.RunFilter(created_from=Timestamp(seconds=-1))),
        pb.SignalRunRequest(payload=Payload(json="x" * 2_000_000)),  # refused with the sizes of values
    ],
)
def test_what_may_be_is_taken(request_: Any) -> None:
    """The empty text, zero, instants before 1970 and the largest of everything."""
    assert list(violations(request_)) == []


@pytest.mark.parametrize(
    ("text", "limit", "cut"), [("abc", 3, "abc"), ("abcdefg", 6, "abc…"), ("ééé", 5, "é…"), ("东东东", 8, "东…")]
)
def test_a_text_is_cut_between_characters(text: str, limit: int, cut: str) -> None:
    """With a sign, and never to more bytes than it may have."""
    assert shortened(text, limit) == cut
    assert len(cut.encode()) <= limit


def test_a_map_loses_the_entries_that_are_too_many_or_too_long() -> None:
    """The first ones by name stay, so that two answers show the same."""
    run = run_pb2.Run(labels={f"k{number:03}": "x" * 1200 for number in range(70)} | {"z" * 300: "x"})

    assert shorten(run)
    assert sorted(run.labels) == [f"k{number:03}" for number in range(64)]
    assert {len(value.encode()) for value in run.labels.values()} == {1000}


def test_room_takes_the_first_item_whatever_its_size() -> None:
    """Or an answer would never come forward; and after one that does not fit nothing else is looked for."""
    assert fitting(["x" * 100, "x"], Room(10)) == 1
    assert fitting(["x" * 4, "x" * 4, "x"], Room(20)) == 2
    assert fitting([], Room(10)) == 0
