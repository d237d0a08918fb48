"""What a server counts for Prometheus, and where it tells it."""

from __future__ import annotations

import urllib.request
from pathlib import Path

import anyio
import anyio.to_thread
import pytest

from flujo.backends.memory import InMemoryBackend
from flujo.client import Client
from flujo.client.addresses import ServerAddress
from flujo.kernel import Context, Kernel, RunFailed, workflow
from flujo.kernel.errors import AddressInUseError, RunNotFoundError, UnsafeListenerError
from flujo.server.listening import ListenOptions, listening, observed
from flujo.server.metrics import MOST_WORKFLOWS, Metrics, code_of
from flujo.server.observing import Observers, Observing
from flujo.server.sockets import claimed
from server.flows import doubling


@workflow()
async def failing(ctx: Context) -> None:
    """Fails."""
    raise ValueError("no")


def scrape(url: str) -> str:
    """The answer to a scrape, as Prometheus asks for it."""
    asked = urllib.request.Request(url, headers={"Accept": "application/openmetrics-text; version=1.0.0"})
    with urllib.request.urlopen(asked, timeout=10) as answer:
        assert answer.headers["Content-Type"].startswith("application/openmetrics-text")
        return str(answer.read().decode())


async def test_calls_and_runs_are_counted(address: str) -> None:
    """By method and code, by workflow and status; and a scrape asks nothing of the store."""
    metrics, kernel = Metrics(), Kernel(InMemoryBackend(), [doubling, failing])
    where = ServerAddress.parse(address)
    with claimed(where), metrics.served(ServerAddress.parse("tcp://127.0.0.1:0")) as url:
        async with (
            kernel,
            listening(kernel, where, observers=Observers(metrics=metrics)),
            Client(address) as client,
            anyio.create_task_group() as tasks,
        ):
            tasks.start_soon(metrics.follow, kernel)
            await anyio.wait_all_tasks_blocked()
            assert await client.run("doubling", {"number": 2}) == 4
            with pytest.raises(RunFailed):
                await client.run("failing")
            with pytest.raises(RunNotFoundError):
                await client.inspect("nobody")
            told = ""
            with anyio.fail_after(20):
                while 'flujo_runs_ended_total{status="failed",workflow="failing"} 1.0' not in told:
                    told = await anyio.to_thread.run_sync(scrape, url)
            tasks.cancel_scope.cancel()

    lines = set(told.splitlines())
    assert {
        'flujo_calls_total{code="OK",method="StartRun"} 2.0',
        'flujo_calls_total{code="NOT_FOUND",method="GetRun"} 1.0',
        'flujo_runs_created_total{workflow="doubling"} 1.0',
        'flujo_runs_ended_total{status="completed",workflow="doubling"} 1.0',
        'flujo_open_calls{method="StartRun"} 0.0',
    } <= lines
    assert told.endswith("# EOF\n")


async def test_a_server_tells_it_where_it_is_asked_to(address: str) -> None:
    """Beside its own address, as long as it serves; a port that is taken is refused."""
    kernel = Kernel(InMemoryBackend(), [doubling])
    with Metrics().served(ServerAddress.parse("tcp://127.0.0.1:0")) as url:
        taken = ServerAddress.parse(f"tcp://{url.removeprefix('http://').removesuffix('/metrics')}")
        with claimed(where := ServerAddress.parse(address)), pytest.raises(AddressInUseError):
            async with kernel, observed(kernel, where, ListenOptions(observing=Observing(metrics=taken))):
                pass
    async with kernel, observed(kernel, where, ListenOptions(observing=Observing(metrics=taken))):
        assert "flujo_open_calls" in await anyio.to_thread.run_sync(scrape, url)


@pytest.mark.parametrize("text", ["tcp://0.0.0.0:9464", "tcp://192.0.2.1:9464", "unix:metrics.sock"])
def test_other_machines_are_told_nothing(text: str, folder: Path) -> None:
    """Anybody who reaches it may read it."""
    with pytest.raises(UnsafeListenerError, match="this machine"), Metrics().served(ServerAddress.parse(text)):
        pass


def test_names_that_callers_make_up_are_counted_together() -> None:
    """Each would cost memory for ever."""
    metrics = Metrics()

    assert [metrics._known(f"w-{number}") for number in range(MOST_WORKFLOWS)][-1] == f"w-{MOST_WORKFLOWS - 1}"
    assert metrics._known("one-more") == "(others)"
    assert metrics._known("w-0") == "w-0"


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (RunNotFoundError("r", "memory:"), "NOT_FOUND"),
        (ExceptionGroup("one", [RunNotFoundError("r", "memory:")]), "NOT_FOUND"),
        (GeneratorExit(), "CANCELLED"),
        (ZeroDivisionError(), "INTERNAL"),
    ],
)
def test_a_call_is_counted_under_the_code_that_its_caller_sees(error: BaseException, code: str) -> None:
    """Of whatever its handler raises."""
    assert code_of(error) == code
