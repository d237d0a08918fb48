"""Follow all runs of a server, over broken connections and restarts."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator, Sequence
from typing import Any, NamedTuple, TypeVar

from flujo.kernel.api import Followed, RunEvent
from flujo.kernel.errors import RunNotFoundError, RunReplacedError, ServerUnreachableError
from flujo.kernel.events import Event
from flujo.v1 import event_pb2, run_service_pb2

from .addresses import ServerAddress
from .calls import Calls
from .reconnecting import SILENCE_SECONDS, ReconnectDeadline, next_message, silence_seconds
from .wire.events import has_references

Each = TypeVar("Each")


class EventBatch(NamedTuple):
    """Some events of a run, in order."""

    events: Sequence[Event]


def in_parts(messages: Sequence[Each], stands_alone: Callable[[Each], bool]) -> Iterator[Sequence[Each]]:
    """Yield the messages of a batch in order, in as few parts as possible; one that stands alone is a part by itself,
    so that no more than one of them is held at a time."""
    part: list[Each] = []
    for message in messages:
        if stands_alone(message):
            if part:
                yield part
            yield [message]
            part = []
        else:
            part.append(message)
    if part:
        yield part


def needs_fetching(message: event_pb2.Event) -> bool:
    """True if values of an event have not come along."""
    return message.cut or has_references(message)


ReadEvent = Callable[[str, str, event_pb2.Event], Awaitable[Event]]
"""Returns the event in a message of the run of an id and uid, with the values that did not come along."""


class RunsWatch:
    """A watch of runs, and how far it has come."""

    def __init__(
        self, request: run_service_pb2.WatchRunsRequest, address: ServerAddress, read_event: ReadEvent
    ) -> None:
        self._request = request
        self._address = address
        self._read_event = read_event
        self._silence = SILENCE_SECONDS

    async def batches(self, calls: Calls, method: Any, deadline: ReconnectDeadline) -> AsyncGenerator[Followed, None]:
        """Yield events until the connection breaks; raises what it broke by. The next call goes on behind the last
        batch that was handed out."""
        async with calls.stream(method, self._request) as messages:
            while (message := await next_message(messages, self._silence, self._address)) is not None:
                deadline.renew()
                match message.WhichOneof("content"):
                    case "header":
                        self._go_on_behind(message.header.cursor)
                        self._silence = silence_seconds(message.header)
                    case "bookmark":
                        self._go_on_behind(message.bookmark.cursor)
                    case "events":
                        for part in in_parts(message.events.events, lambda each: needs_fetching(each.event)):
                            read = [await self._whole(each) for each in part]
                            yield Followed([event for event in read if event is not None], part[-1].cursor)
                            self._go_on_behind(part[-1].cursor)
                        self._go_on_behind(message.events.cursor)
        raise ServerUnreachableError(self._address.text, "the stream ended")

    async def _whole(self, message: run_service_pb2.RunEvent) -> RunEvent | None:
        """Return the event of a message; None if a value of it cannot be read, since its run was deleted just now."""
        try:
            event = await self._read_event(message.run_id, message.uid, message.event)
        except (RunNotFoundError, RunReplacedError):
            return None
        return RunEvent(message.run_id, message.uid, message.workflow, event, message.cursor)

    def _go_on_behind(self, cursor: str) -> None:
        self._request.cursor, self._request.from_now = cursor, False
