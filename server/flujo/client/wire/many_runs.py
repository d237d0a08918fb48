"""Convert calls for many runs, and what became of each of them, to messages and back."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, TypeVar, cast

from google.protobuf.message import Message

from flujo.kernel.api import Bulk, BulkOptions, BulkResult, RequestOptions, RunActedOn
from flujo.kernel.backend import run_filter
from flujo.v1 import run_service_pb2 as pb

from .filters import from_filter, to_filter
from .limits import shorten
from .parameters import given_in, put_given
from .runs import from_run_status, to_run_status

Answer = TypeVar("Answer", bound=Message)

LARGEST_BULK = 1000
MESSAGE_BYTES = 600
"""Of the sentence with which a run is refused, so that an answer about a thousand of them has room."""


def put_bulk(request: Any, options: BulkOptions) -> None:
    """Write the keywords of a call into its request. Raises what the kernel raises for one that is not well formed."""
    bulk = Bulk.of(**options)
    request.filter.CopyFrom(to_filter(run_filter(**bulk.wanted)))
    request.max_runs = min(bulk.limit, LARGEST_BULK)
    put_given(request, {**bulk.asked, "page_token": bulk.page, "dry_run": bulk.dry_run})


def bulk_options(request: Any, default: int) -> BulkOptions:
    """Return the keywords in a request; raises InvalidNameError for a status that does not exist."""
    asked = given_in(request, RequestOptions.__annotations__)
    limit = min(request.max_runs or default, LARGEST_BULK)
    rest = {"limit": limit, "page": request.page_token or None, "dry_run": request.dry_run}
    return cast(BulkOptions, {**from_filter(request.filter), **asked, **rest})


def with_result(answer: Answer, result: BulkResult) -> Answer:
    """Return an answer with what became of many runs written into it."""
    filled: Any = answer
    filled.runs.extend(map(_acted_on, result.runs))
    filled.next_page_token = result.next or ""
    return answer


def from_result(answer: Any) -> BulkResult:
    """Return what became of many runs."""
    runs: Iterable[pb.RunActedOn] = answer.runs
    return BulkResult([_from_acted_on(run) for run in runs], answer.next_page_token or None)


def _acted_on(run: RunActedOn) -> Message:
    message = run.message.encode()[:MESSAGE_BYTES].decode(errors="ignore")
    made = pb.RunActedOn(
        run_id=run.run_id,
        uid=run.uid,
        status=to_run_status(run.status),
        reason=run.reason or "",
        message=message if message == run.message else f"{message}…",
        outcome=run.outcome or "",
    )
    shorten(made)
    return made


def _from_acted_on(run: pb.RunActedOn) -> RunActedOn:
    status = from_run_status(run.status)
    return RunActedOn(run.run_id, run.uid, status, run.reason or None, run.message, run.outcome or None)
