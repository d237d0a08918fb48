"""Follow all runs of a server, over broken connections and restarts."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Iterator, Sequence
from typing import Any, Generic, NamedTuple, TypeVar

from flujo.kernel.api import Followed, RunEvent
from flujo.kernel.errors import RunNotFoundError, RunReplacedError, ServerUnreachableError
from flujo.kernel.events import Event
from flujo.v1 import event_pb2, run_service_pb2

from .addresses import ServerAddress
from .calls import Calls
from .reconnecting import SILENCE_SECONDS, ReconnectDeadline, silence_seconds
from .wire.events import event_here

Each = TypeVar("Each")
Read = TypeVar("Read")


class EventBatch(NamedTuple):
    """Some events of a run, in order."""

    events: Sequence[Event]


class Part(NamedTuple, Generic[Each, Read]):
    """Some messages of a batch, in order: what was read of them, and the last of them; or one by itself of which
    nothing was read, since values have to be fetched."""

    read: Sequence[Read]
    last: Each


def in_parts(messages: Iterable[Each], read: Callable[[Each], Read | None]) -> Iterator[Part[Each, Read]]:
    """Yield the messages of a batch in order, in as few parts as possible; one of which `read` returns None is a part
    by itself, so that the values of no more than one of them are held at a time."""
    done: list[Read] = []
    last: Each | None = None
    for message in messages:
        if (each := read(message)) is not None:
            done.append(each)
        else:
            if done:
                assert last is not None
                yield Part(done, last)
            yield Part((), message)
            done = []
        last = message
    if done:
        assert last is not None
        yield Part(done, last)


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
        async with calls.watch(method, self._request, self._silence) as messages:
            while (message := await messages.next()) is not None:
                deadline.renew()
                match message.WhichOneof("content"):
                    case "header":
                        self._go_on_behind(message.header.cursor)
                        self._silence = silence_seconds(message.header)
                        messages.expect(self._silence)
                    case "bookmark":
                        self._go_on_behind(message.bookmark.cursor)
                    case "events":
                        for read, last in in_parts(message.events.events, _run_event_here):
                            whole = read or [each for each in [await self._whole(last)] if each is not None]
                            yield Followed(whole, last.cursor)
                            self._go_on_behind(last.cursor)
                        self._go_on_behind(message.events.cursor)
        raise ServerUnreachableError(self._address.text, "the stream ended")

    async def _whole(self, message: run_service_pb2.RunEvent) -> RunEvent | None:
        """Return the event of a message; None if a value of it cannot be read, since its run was deleted just now."""
        try:
            event = await self._read_event(message.run_id, message.uid, message.event)
        except (RunNotFoundError, RunReplacedError):
            return None
        return _run_event(message, event)

    def _go_on_behind(self, cursor: str) -> None:
        self._request.cursor, self._request.from_now = cursor, False


def _run_event_here(message: run_service_pb2.RunEvent) -> RunEvent | None:
    """Return the event of a message, None if values of it have not come along."""
    event = event_here(message.event)
    return None if event is None else _run_event(message, event)


def _run_event(message: run_service_pb2.RunEvent, event: Event) -> RunEvent:
    return RunEvent(message.run_id, message.uid, message.workflow, event, message.cursor)
