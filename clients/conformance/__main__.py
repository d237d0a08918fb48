"""Try clients: prints one line a behaviour and at the end a table of languages, behaviours and transports."""

from __future__ import annotations

import argparse
import asyncio
import shutil
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import anyio

from flujo.kernel.errors import FlujoError

from .behaviours import BEHAVIOURS, Failed, NotHere, Trial, prepare, prepare_long_run, title
from .driving import CallError, Driver, DriverError, driving
from .measuring import MOST_TIMES, bare_server, batches, measured
from .newer import newer_server
from .serving import HERE, TRANSPORTS, Server, serving

CLIENTS = HERE.parent
JAVA = CLIENTS / "java" / "target"
LONGEST_SECONDS = 90.0
"""After so long a behaviour is taken for one that never comes."""

COMMANDS = {
    "python": f"{sys.executable} -m conformance.python_client",
    "blocking": f"{sys.executable} -m conformance.python_blocking",
    "go": f"{CLIENTS}/go/build/driver",
    "node": f"node {CLIENTS}/node/build/conformance/driver.js",
    "java": f"java -cp '{JAVA}/classes:{JAVA}/test-classes:{JAVA}/lib/*' io.flujo.conformance.Driver",
    "rust": f"{CLIENTS}/rust/target/debug/examples/driver",
}

GOOD, BAD, NONE = "ok", "FAILED", "-"


class Outcome(NamedTuple):
    """How a client did in one behaviour over one transport."""

    language: str
    transport: str
    number: int
    how: str


class Session(NamedTuple):
    """A server under test, with what every client is tried with."""

    server: Server
    newer: str


async def judged(trial: Trial, number: int) -> tuple[str, str]:
    """How one behaviour went, and why if it went wrong."""
    try:
        with anyio.fail_after(LONGEST_SECONDS):
            await BEHAVIOURS[number - 1](trial)
    except NotHere:
        return NONE, ""
    except TimeoutError:
        return BAD, f"nothing more came within {LONGEST_SECONDS:.0f} s"
    except (Failed, CallError, DriverError, FlujoError) as error:
        return BAD, f"{type(error).__name__}: {error}"
    return GOOD, ""


async def try_client(language: str, session: Session, numbers: Sequence[int]) -> list[Outcome]:
    """Try one client; a driver that has failed is started anew."""
    outcomes: list[Outcome] = []
    left = list(numbers)
    transport = session.server.place.transport
    while left:
        async with driving(COMMANDS[language], session.server.folder) as driver:
            going = True
            while left and going:
                number = left.pop(0)
                going = await _try_one(language, session, driver, number, outcomes)
    assert all(outcome.transport == transport for outcome in outcomes)
    return outcomes


async def _try_one(language: str, session: Session, driver: Driver, number: int, outcomes: list[Outcome]) -> bool:
    server = session.server
    transport = server.place.transport
    began = time.monotonic()
    await server.ensure()
    async with server.client() as judge:
        trial = Trial(driver, server, judge, f"{language}-{transport}", session.newer)
        try:
            with anyio.fail_after(LONGEST_SECONDS):
                await trial.open("main")
        except (CallError, DriverError, TimeoutError) as error:
            how, why = BAD, f"{type(error).__name__}: {error}"
        else:
            how, why = await judged(trial, number)
    outcomes.append(Outcome(language, transport, number, how))
    took = time.monotonic() - began
    print(
        f"{language:9}{transport:6}{number:3} {how:7}{took:5.1f} s  {title(number)}{': ' * bool(why)}{why}", flush=True
    )
    return how is not BAD


def table(outcomes: Sequence[Outcome], languages: Sequence[str], transports: Sequence[str]) -> str:
    """Languages and transports across, behaviours down."""
    found = {(each.language, each.transport, each.number): each.how for each in outcomes}
    columns = [(language, transport) for language in languages for transport in transports]
    lines = [" " * 72 + "".join(f"{language:>9}" for language, _ in columns)]
    lines += [" " * 72 + "".join(f"{transport:>9}" for _, transport in columns)]
    for number in sorted({each.number for each in outcomes}):
        cells = "".join(f"{found.get((*column, number), ''):>9}" for column in columns)
        lines.append(f"{number:3} {title(number):68}{cells}")
    return "\n".join(lines)


async def main(languages: Sequence[str], transports: Sequence[str], numbers: Sequence[int]) -> int:
    outcomes: list[Outcome] = []
    folder = Path(tempfile.mkdtemp(prefix="flujo-"))  # short: it is for sockets
    try:
        async with newer_server() as newer:
            for transport in transports:
                async with serving(transport, folder) as server:
                    async with server.client() as judge:
                        if transport == transports[0]:
                            await prepare(judge)
                    for language in languages:
                        outcomes += await try_client(language, Session(server, newer), numbers)
    finally:
        shutil.rmtree(folder)
    print(f"\n{table(outcomes, languages, transports)}\n")
    bad = sum(outcome.how == BAD for outcome in outcomes)
    print(f"{sum(outcome.how == GOOD for outcome in outcomes)} passed, {bad} failed")
    return min(bad, 1)


async def measure(languages: Sequence[str]) -> int:
    """Print how long each language takes to follow many stored events; returns 1 if one takes too long."""
    slow: list[str] = []
    folder = Path(tempfile.mkdtemp(prefix="flujo-"))
    try:
        async with serving("unix", folder) as server:
            async with server.client() as judge:
                await prepare_long_run(judge)
            address = server.place.address
            async with bare_server(await batches(address), folder) as bare:
                for language in languages:
                    async with driving(COMMANDS[language], folder) as driver:
                        times = await measured(driver, address, bare)
                    print(f"{language:9}{times}", flush=True)
                    slow += [language] * (times.times > MOST_TIMES)
    finally:
        shutil.rmtree(folder)
    print(f"more than {MOST_TIMES} times: {', '.join(slow) or 'none'}")
    return min(len(slow), 1)


def asked() -> argparse.Namespace:
    """What was asked for."""
    parser = argparse.ArgumentParser(prog="conformance", description=__doc__)
    parser.add_argument("languages", nargs="*", help=f"which clients, of {', '.join(COMMANDS)} (default: all)")
    parser.add_argument("--over", action="append", choices=TRANSPORTS, help="transports (default: all)")
    parser.add_argument("--only", type=int, action="append", help="numbers of behaviours (default: all)")
    parser.add_argument("--measure", action="store_true", help="measure follows instead")
    return parser.parse_args()


if __name__ == "__main__":
    chosen = asked()
    if chosen.measure:
        sys.exit(asyncio.run(measure(chosen.languages or list(COMMANDS))))
    every = range(1, len(BEHAVIOURS) + 1)
    sys.exit(
        asyncio.run(
            main(chosen.languages or list(COMMANDS), chosen.over or list(TRANSPORTS), chosen.only or list(every))
        )
    )
