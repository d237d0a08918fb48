"""The keywords of calls in their requests: every one has a field, and arrives as it was given."""

from __future__ import annotations

from typing import Any

import pytest
from google.protobuf.message import Message

from flujo.client.wire.filters import from_selection
from flujo.client.wire.parameters import APART, given_in, parts_of, put_given
from flujo.kernel.api import (
    Asked,
    Fork,
    ForkOptions,
    ReasonedOptions,
    RequestOptions,
    ResumeOptions,
    Resumption,
    Selection,
    SelectionOptions,
    Start,
    StartOptions,
)
from flujo.kernel.backend import RunQuery
from flujo.kernel.errors import InvalidDurationError, InvalidNameError, InvalidValueError
from flujo.v1 import run_service_pb2 as pb

CALLS: list[tuple[type[Any], type[Message], dict[str, Any]]] = [
    (
        StartOptions,
        pb.StartRunRequest,
        {
            "run_id": "r",
            "labels": {"Stadt": "Zürich"},
            "request_id": "x",
            "flow": "ship it",
            "skip_steps": ["a", "b"],
            "start_from": "c",
            "timeout": 90.5,
        },
    ),
    (
        ResumeOptions,
        pb.ResumeRunRequest,
        {
            "from_step": "a",
            "retry": ["b", "c"],
            "accept_changes": True,
            "empty_workspace": True,
            "by": "ann",
            "request_id": "x",
        },
    ),
    (
        ForkOptions,
        pb.ForkRunRequest,
        {"from_step": "a", "new_run_id": "s", "labels": {"a": "1"}, "request_id": "x"},
    ),
    (
        SelectionOptions,
        pb.PruneRunsRequest,
        {
            "older_than_seconds": 0.000001,
            "statuses": ["failed", "paused"],
            "workflow": "flow",
            "labels": {"a": "1"},
            "id_prefix": "r-",
            "keep_last": 3,
        },
    ),
    (
        RunQuery,
        pb.RunFilter,
        {
            "statuses": ["running"],
            "workflow": "flow",
            "id_prefix": "r-",
            "labels": {"a": "1"},
            "created_from": -1,
            "created_before": 1_767_225_600_123_456,
            "updated_from": 0,
            "updated_before": 1,
            "finished_from": 2,
            "finished_before": 3,
            "failed_step": "a/b[1]",
            "parent_run_id": "p",
        },
    ),
    *(
        (RequestOptions, message, {"by": "ann", "request_id": "x"})
        for message in (pb.SignalRunRequest, pb.UnpauseRunRequest)
    ),
    *(
        (ReasonedOptions, message, {"by": "ann", "request_id": "x", "reason": "why"})
        for message in (
            pb.CancelRunRequest,
            pb.PauseRunRequest,
            pb.SkipStepRequest,
            pb.SetStepOutputRequest,
            pb.SetVariableRequest,
        )
    ),
]


@pytest.mark.parametrize(("options", "message", "given"), CALLS, ids=lambda part: getattr(part, "__name__", ""))
def test_every_keyword_arrives_as_it_was_given(
    options: type[Any], message: type[Message], given: dict[str, Any]
) -> None:
    """All of them together; a keyword that is added to the kernel has to be added to the contract, and to this list."""
    keywords = options.__annotations__
    apart = APART if options in (ResumeOptions, ForkOptions) else ()
    request = message()

    put_given(request, given)

    assert set(given) == set(keywords) - set(apart)
    assert given_in(message.FromString(request.SerializeToString()), keywords, apart=apart) == given


@pytest.mark.parametrize(("options", "message", "given"), CALLS, ids=lambda part: getattr(part, "__name__", ""))
def test_what_is_not_said_arrives_as_that(options: type[Any], message: type[Message], given: dict[str, Any]) -> None:
    """None is no text, no instant and no number; lists and labels are empty."""
    request = message()

    put_given(request, dict.fromkeys(given))

    assert request == message()
    assert not any(given_in(request, given).values())


@pytest.mark.parametrize(
    ("value", "options"),
    [
        (Asked, ReasonedOptions),
        (Fork, ForkOptions),
        (Resumption, ResumeOptions),
        (Selection, SelectionOptions),
        (Start, StartOptions),
    ],
)
def test_a_value_has_the_keywords_of_its_call(value: type[Any], options: type[Any]) -> None:
    """What a call takes is what its value holds."""
    assert set(value.__dataclass_fields__) == set(options.__annotations__)


def test_a_value_is_sent_without_what_is_apart() -> None:
    """Workflows and values are written by the call itself."""
    assert parts_of(Fork(from_step="a", inputs={"x": 1}), apart=APART) == {
        "from_step": "a",
        "new_run_id": None,
        "labels": None,
        "request_id": None,
    }


@pytest.mark.parametrize(
    ("given", "error"),
    [
        ({"workflow": 7}, InvalidValueError),
        ({"labels": {"a": 1}}, InvalidValueError),
        ({"statuses": ["gone"]}, InvalidNameError),
        ({"older_than_seconds": "soon"}, InvalidDurationError),
    ],
)
def test_what_is_not_well_formed_is_refused_before_it_is_sent(given: dict[str, Any], error: type[Exception]) -> None:
    """By the errors of the kernel, and not by those of protobuf."""
    with pytest.raises(error):
        put_given(pb.PruneRunsRequest(), given)


def test_a_filter_that_is_not_for_pruning_is_refused() -> None:
    """It would be left out in silence otherwise, and more would be pruned than was asked for."""
    with pytest.raises(InvalidNameError, match=r"filter\.failed_step"):
        from_selection(pb.PruneRunsRequest(filter=pb.RunFilter(failed_step="a")))


def test_a_type_that_no_keyword_has_is_an_error_of_ours() -> None:
    """So that such a keyword is not left out in silence."""
    with pytest.raises(TypeError, match=r"StartRunRequest\.inputs"):
        given_in(pb.StartRunRequest(), ["inputs"])
