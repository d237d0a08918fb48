"""Requests that nobody would send: made from the descriptors of the contract, and of bytes that are none.

python tests/server/fuzzing.py --requests 200000 --seed 1    # a campaign; `make torture-requests` runs it

A request has fields with values at their limits and beyond, of ids that exist and of others, and unknown numbers of
enums. Some are cut, some have bytes changed, and some are noise. Whatever comes, the server answers with a status of
the contract: never UNKNOWN or INTERNAL, and nothing that a client with gRPC's own limits could not read.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import resource
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable
from contextlib import AsyncExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import anyio
from google.protobuf import descriptor_pool
from google.protobuf.descriptor import FieldDescriptor, MethodDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass
from google.rpc.error_details_pb2 import ErrorInfo
from grpc import aio
from grpc_status import rpc_status

from flujo.backends import open_backend
from flujo.client.wire.limits import _fields
from flujo.kernel import Kernel
from flujo.server import serve
from flujo.server.listening import SERVICES, load_stored
from server.flows import doubling, echoing, waiting

AT_A_TIME = 8
SECONDS = 0.25
"""How long a call may wait: some are asked to wait for ever."""

MESSAGES = 20
"""How many messages of a stream are read."""

REFUSED_BY_GRPC = {"RESOURCE_EXHAUSTED", "DEADLINE_EXCEEDED", "CANCELLED"}
"""What a call may end with without an ErrorInfo: too large a request, our deadline."""

TEXTS = (
    "",
    "a",
    "r",
    "done",
    "waits",
    "doubling",
    "waiting",
    "go",
    "\0",
    "é" * 60,
    "🙂",
    "../x",
    "x" * 99,
    "%s",
    "null",
)
JSON = ("", "{}", "null", "[1]", '{"number": 2}', "1e999", "NaN", '{"a":' * 200, '"\\ud800"', "-0", "1" * 400)
DEFINITIONS = (
    "name: x\nsteps: [{name: a, task: noop}]",
    "name: x\nsteps: [{name: a, task: wait_signal}]",
    "name: [",
    "name: x\nsteps: {}",
    "a: &a [*a]",
    "[" * 3000,
)


class Ended(NamedTuple):
    """How a call ended: its code, and the reason in it."""

    method: str
    code: str
    reason: str


class Maker:
    """Makes requests, the same ones from the same seed."""

    def __init__(self, seed: int, ids: list[str], uids: list[str]) -> None:
        self._random = random.Random(seed)
        self._ids, self._uids = ids, uids
        pool = descriptor_pool.Default()
        self.methods: list[MethodDescriptor] = [
            method for name in SERVICES for method in pool.FindServiceByName(name).methods
        ]

    def request(self) -> tuple[MethodDescriptor, bytes]:
        """Return a method and the bytes of a request for it."""
        method = self._random.choice(self.methods)
        if self._random.random() < 0.05:
            return method, self._random.randbytes(self._random.choice((1, 7, 64, 3000)))
        made = GetMessageClass(method.input_type)()
        self._fill(made, 4)
        data = made.SerializeToString()
        if data and self._random.random() < 0.15:
            data = self._damaged(data)
        return method, data

    def _damaged(self, data: bytes) -> bytes:
        at = self._random.randrange(len(data))
        match self._random.randrange(3):
            case 0:
                return data[:at]
            case 1:
                return data[:at] + bytes([self._random.randrange(256)]) + data[at + 1 :]
            case _:
                return data + data[at:]

    def _fill(self, message: Message, depth: int) -> None:
        for field in message.DESCRIPTOR.fields:
            if self._random.random() < 0.45:
                self._put(message, field, depth)

    def _put(self, message: Any, field: Any, depth: int) -> None:
        is_map = field.message_type is not None and field.message_type.GetOptions().map_entry
        if is_map:
            assert field.message_type is not None
            entries, value = getattr(message, field.name), field.message_type.fields_by_name["value"]
            for _ in range(self._count(field)):
                name = self._text(field, _fields(message.DESCRIPTOR)[field.name].key_bytes)
                if value.message_type is None:
                    entries[name] = self._scalar(value, field)
                else:
                    self._fill(entries[name], depth - 1)
        elif field.message_type is not None:
            if depth == 0:
                return
            for _ in range(self._count(field) if field.is_repeated else 1):
                self._fill(
                    getattr(message, field.name).add() if field.is_repeated else getattr(message, field.name), depth - 1
                )
            if not field.is_repeated:
                getattr(message, field.name).SetInParent()
        elif field.is_repeated:
            getattr(message, field.name).extend(self._scalar(field, field) for _ in range(self._count(field)))
        else:
            setattr(message, field.name, self._scalar(field, field))

    def _count(self, field: FieldDescriptor) -> int:
        most = _fields(field.containing_type)[field.name].items or 3
        return self._random.choice((0, 1, 2, min(most, 64), min(most + 1, 70)))

    def _scalar(self, field: FieldDescriptor, limited: FieldDescriptor) -> Any:
        choose = self._random.choice
        match field.cpp_type:
            case FieldDescriptor.CPPTYPE_STRING:
                if field.type == FieldDescriptor.TYPE_BYTES:
                    return choose((b"", b"{", b"\xff" * 100, b"x" * 70_000))
                return self._text(limited, _fields(limited.containing_type)[limited.name].bytes)
            case FieldDescriptor.CPPTYPE_BOOL:
                return choose((True, False))
            case FieldDescriptor.CPPTYPE_ENUM:
                return choose((0, 1, 2, 3, 99, -1, 2**31 - 1))
            case FieldDescriptor.CPPTYPE_INT32:
                return choose((0, 1, -1, 7, 999_999_999, 1_000_000_000, 2**31 - 1, -(2**31)))
            case FieldDescriptor.CPPTYPE_INT64:
                return choose((0, 1, -1, 60, 2**40, 2**62, 2**63 - 1, -(2**63)))
            case FieldDescriptor.CPPTYPE_UINT32:
                return choose((0, 1, 2, 2**31, 2**32 - 1))
            case FieldDescriptor.CPPTYPE_UINT64:
                return choose((0, 1, 2, 3, 100, 2**63, 2**64 - 1))
            case _:
                return choose((0.0, -1.0, 1e308, float("inf"), float("nan")))

    def _text(self, field: FieldDescriptor, limit: int) -> str:
        choose = self._random.choice
        if field.name in ("run_id", "parent_run_id", "new_run_id"):
            return choose((*self._ids, *TEXTS))
        if field.name == "uid":
            return choose((*self._uids, "0" * 32, *TEXTS))
        if field.name == "json":
            return choose((*JSON, '"' + "x" * 2**20 + '"'))
        if field.name == "text":
            return choose(DEFINITIONS)
        if field.name in ("request_id",):
            return choose((f"id-{self._random.randrange(50)}", *TEXTS))
        if limit and self._random.random() < 0.1:
            return "x" * min(limit, 300_000)
        if limit and self._random.random() < 0.05:
            return "y" * min(limit + 1, 300_000)
        return choose((*TEXTS, "step_completed", "run_created"))


class Fuzzed(NamedTuple):
    """A server under fuzz, and how its calls ended."""

    channel: aio.Channel
    maker: Maker
    ended: Counter[Ended]

    async def call(self, number: int) -> None:
        """Make a request, and note how it ends."""
        method, data = self.maker.request()
        assert method.containing_service is not None
        path = f"/{method.containing_service.full_name}/{method.name}"
        kind = f"{'stream' if method.client_streaming else 'unary'}_{'stream' if method.server_streaming else 'unary'}"
        call = getattr(self.channel, kind)(path)
        begun = call(iter([data]) if method.client_streaming else data, timeout=SECONDS)
        code, reason = "OK", ""
        try:
            if method.server_streaming:
                left = MESSAGES
                async for answer in begun:
                    assert len(answer) <= 2**22
                    if (left := left - 1) == 0:
                        break
            else:
                await begun
        except aio.AioRpcError as error:
            code = error.code().name
            status = rpc_status.from_call(error)  # type: ignore[arg-type]
            info = ErrorInfo()
            if status is not None and status.details and status.details[0].Unpack(info):
                reason = info.reason
        except asyncio.CancelledError:  # grpc.aio raises it for a call that the server has cancelled, too
            task = asyncio.current_task()
            assert task is not None
            if task.cancelling():
                raise
            code = "CANCELLED"
        finally:
            begun.cancel()
        self.ended[Ended(method.name, code, reason)] += 1


async def fuzz(
    folder: Path, requests: int, seed: int, said: Callable[[int], None] = lambda done: None
) -> Counter[Ended]:
    """Send so many requests to a server of its own on a store in a folder; return how often they ended how."""
    backend = open_backend(f"sqlite:{folder}/s.db?durability=normal")
    kernel = Kernel(backend, [doubling, echoing, waiting], workspaces=folder / "w", load_definition=load_stored)
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(kernel)
        group = await stack.enter_async_context(anyio.create_task_group())
        stack.callback(group.cancel_scope.cancel)
        await group.start(lambda **task: serve(kernel, f"unix:{folder}/s", grace_seconds=1, **task))
        channel = await stack.enter_async_context(aio.insecure_channel(f"unix:{folder}/s"))
        ended: Counter[Ended] = Counter()
        done = 0
        while done < requests:
            # Anew from time to time: deletes and prunes are among the requests.
            for run_id, flow in (("done", "doubling"), ("waits", "waiting"), ("r", "echoing")):
                await kernel.start(flow, run_id=run_id)
            ids = ["done", "waits", "r"]
            uids = [(await kernel.summary(run_id)).uid for run_id in ids]
            part = min(500, requests - done)
            fuzzed = Fuzzed(channel, Maker(seed * 1_000_003 + done, ids, uids), ended)
            await _together(fuzzed, part)
            done += part
            said(done)
            await _forget_all(kernel)
    return ended


async def _together(fuzzed: Fuzzed, requests: int) -> None:
    numbers = iter(range(requests))

    async def work() -> None:
        for number in numbers:
            await fuzzed.call(number)

    async with anyio.create_task_group() as tasks:
        for _ in range(AT_A_TIME):
            tasks.start_soon(work)


async def _forget_all(kernel: Kernel) -> None:
    while runs := (await kernel.list(limit=500)).runs:
        for run in runs:
            await kernel.delete(run.run_id, force=True)


WRONG = {"CANCELLED", "UNKNOWN", "INTERNAL", "DATA_LOSS", "UNAVAILABLE", "UNIMPLEMENTED"}


def wrong(ended: Iterable[Ended]) -> list[Ended]:
    """The calls that ended as none may: with a code for trouble, or without a reason."""
    return [
        each
        for each in ended
        if each.code in WRONG or (each.code != "OK" and not each.reason and each.code not in REFUSED_BY_GRPC)
    ]


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--requests", type=int, default=200_000)
    arguments.add_argument("--seed", type=int, default=1)
    given = arguments.parse_args()
    began, sizes = time.monotonic(), list[int]()

    def said(done: int) -> None:
        if done % 5000 == 0:
            sizes.append(_resident())
            rate = done / (time.monotonic() - began)
            print(f"{done} requests, {rate:.0f} a second, {sizes[-1] // 2**20} MiB", flush=True)  # noqa: T201

    with TemporaryDirectory(dir="/tmp", prefix="flujo-") as folder:
        ended = anyio.run(fuzz, Path(folder), given.requests, given.seed, said)
    counts: Counter[str] = Counter()
    for each, times in ended.items():
        counts[each.code] += times
    print(dict(counts), "peak", resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024, "MiB")  # noqa: T201
    bad = wrong(ended)
    grown = sizes[-1] - sizes[len(sizes) // 2] if len(sizes) > 3 else 0
    if grown > 50 * 2**20:
        print(f"memory grew by {grown // 2**20} MiB over the second half")  # noqa: T201
    for each in bad[:20]:
        print("wrong:", each, ended[each])  # noqa: T201
    sys.exit(1 if bad or grown > 50 * 2**20 else 0)


def _resident() -> int:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize()


if __name__ == "__main__":
    main()
