"""Steps per second of a kernel on PostgreSQL, beside DBOS on the same server and SQLite on the same disk.

    python bench/postgres.py                          # a server of its own on /var/tmp, which syncs
    python bench/postgres.py --dbos .venv-dbos/bin/python --rounds 5 --runs 1 --steps 200 --away 1
    python bench/postgres.py --dbos .venv-dbos/bin/python --rounds 5 --runs 100 --steps 10 --bytes 1024

The ways take turns, a process each; what is shown is the median of the rounds. `--dbos` names an interpreter that has
DBOS; with PgBouncer on the path flujo is led through it as well. `--away 1` puts the server so many milliseconds away,
for each way, so that a round trip takes twice as long. Counts are from the server: commits, syncs of its log, bytes of
it. Processor time is that of the client while it measures, and of all processes of the server, its tables made and its
sessions begun; on a machine that others use it tells more than the seconds that have passed. What each client has
imported is kept from the garbage collector, or the first to have much of it would pay for a look through all."""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

import postgres_server
from flujo.backends import open_backend
from flujo.backends.postgres.connection import Connection
from flujo.backends.postgres.url import parse
from flujo.kernel import Context, Kernel, step, workflow

SETTINGS = {
    "listen_addresses": "",
    "max_connections": "300",
    "shared_buffers": "256MB",
    "max_wal_size": "4GB",
    "checkpoint_timeout": "1h",
    "dynamic_shared_memory_type": "mmap",
}

DBOS = """
import asyncio, gc, json, os, sys, time
from dbos import DBOS
url, runs, steps, size = sys.argv[1], *map(int, sys.argv[2:5])
@DBOS.step()
async def work(number): return {"text": "x" * size}
@DBOS.workflow()
async def flow(steps):
    for number in range(steps): await work(number)
async def main():
    await (await DBOS.start_workflow_async(flow, 3)).get_result()
    gc.collect()
    gc.freeze()
    began, used = time.perf_counter(), time.process_time()
    handles = await asyncio.gather(*[DBOS.start_workflow_async(flow, steps) for _ in range(runs)])
    await asyncio.gather(*[handle.get_result() for handle in handles])
    took, used = time.perf_counter() - began, time.process_time() - used
    print("@@" + json.dumps({"steps_per_second": runs * steps / took, "client": used}), flush=True)
DBOS(config={"name": "bench", "system_database_url": url, "log_level": "ERROR", "application_version": "1",
             "run_admin_server": False, "sys_db_pool_size": 100})
DBOS.launch()
asyncio.run(main())
os._exit(0)
"""


async def once(url: str, runs: int, steps: int, size: int) -> Mapping[str, float]:
    """Return how many steps a second a kernel makes on a store, and the processor time it takes for all of them."""

    @step
    async def work(number: int) -> dict[str, str]:
        return {"text": "x" * size}

    @workflow(name="bench", version="1")
    async def flow(ctx: Context, steps: int) -> None:
        for number in range(steps):
            await ctx.step(work, number, name=f"work{number}")

    async with Kernel(open_backend(url), workflows=[flow]) as kernel:
        await kernel.run(flow, {"steps": 3})  # statements are planned, and connections warm
        gc.collect()
        gc.freeze()
        began, used = time.perf_counter(), time.process_time()
        handles = await asyncio.gather(*(kernel.start(flow, {"steps": steps}) for _ in range(runs)))
        await asyncio.gather(*(handle.result() for handle in handles))
        took, used = time.perf_counter() - began, time.process_time() - used
        return {"steps_per_second": runs * steps / took, "client": used}


async def counts(url: str) -> tuple[int, int, int]:
    """Return how many commits and syncs of the log the server has made, and how many bytes its log has."""
    asking = await Connection.connect(parse(url))
    try:
        ((commits,),) = await asking.fetch("SELECT sum(xact_commit)::bigint FROM pg_stat_database")
        ((syncs,),) = await asking.fetch("SELECT sum(fsyncs)::bigint FROM pg_stat_io WHERE object = 'wal'")
        ((size,),) = await asking.fetch("SELECT pg_wal_lsn_diff(pg_current_wal_insert_lsn(), '0/0')::bigint")
    finally:
        await asking.close()
    return int(commits), int(syncs), int(size)


def measure(command: Sequence[str], server: postgres_server.Server) -> Mapping[str, Any]:
    """Run one way in a process of its own; return what it has told, and what the server counted meanwhile."""
    before, used = asyncio.run(counts(server.url)), server.cpu_seconds()
    ended = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)
    told = [line for line in ended.stdout.splitlines() if line.startswith("@@")]
    if not told:
        raise SystemExit(ended.stdout + ended.stderr)
    time.sleep(0.6)  # a session of the server tells what it has counted twice a second at most
    used = server.cpu_seconds() - used
    after = asyncio.run(counts(server.url))
    commits, syncs, size = (b - a for a, b in zip(before, after, strict=True))
    return {**json.loads(told[0][2:]), "server": used, "commits": commits, "syncs": syncs, "log_bytes": size}


def main() -> None:
    """Measure, and print a line for each way."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--runs", type=int, default=100)
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--bytes", type=int, default=1024)
    parser.add_argument("--dbos", help="an interpreter that has DBOS")
    parser.add_argument("--away", type=float, default=0, help="how many milliseconds the server is away")
    parser.add_argument("--one", metavar="URL", help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    size = chosen.runs, chosen.steps, chosen.bytes
    if chosen.one:
        print("@@" + json.dumps(asyncio.run(once(chosen.one, *size))))
        return
    folder = Path(tempfile.mkdtemp(prefix="flujo-bench-", dir="/var/tmp"))
    folder.chmod(0o755)
    server = postgres_server.Server(folder / "server", SETTINGS)
    program = shutil.which("pgbouncer")
    pooler = postgres_server.Pooler(program, server) if program and not chosen.away else None
    stack = ExitStack()
    try:
        server.start()
        if pooler is not None:
            pooler.start()
        if chosen.away:
            stack.enter_context(at_a_distance(server, chosen.away))
        show(take_turns(chosen, server, pooler, folder), chosen.runs * chosen.steps)
    finally:
        stack.close()
        if pooler is not None:
            pooler.stop()
        server.stop()
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def at_a_distance(server: postgres_server.Server, milliseconds: float) -> Iterator[None]:
    """Have the server answer at another port as if it were away."""
    sockets = [f"{server.folder}/.s.PGSQL.{port}" for port in (5433, server.port)]
    command = [sys.executable, str(Path(__file__).with_name("distance.py")), *sockets, str(milliseconds)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
            yield
        finally:
            process.kill()


def take_turns(
    chosen: argparse.Namespace, server: postgres_server.Server, pooler: postgres_server.Pooler | None, folder: Path
) -> Mapping[str, list[Mapping[str, Any]]]:
    """Return what each way has come to in each round."""
    numbers = [str(chosen.runs), str(chosen.steps), str(chosen.bytes)]
    sizes = ["--runs", numbers[0], "--steps", numbers[1], "--bytes", numbers[2]]
    found: dict[str, list[Mapping[str, Any]]] = {}
    script = folder / "dbos_bench.py"
    script.write_text(DBOS)
    for number in range(chosen.rounds):
        base = server.url.replace("&port=5432", "&port=5433") if chosen.away else server.url
        urls = {"postgres": base, "sqlite": f"sqlite:{folder}/{number}/state.db"}
        if pooler is not None:
            urls["postgres, pooled"] = pooler.url
        ways = {
            name: [
                sys.executable,
                __file__,
                "--one",
                url + ("" if "sqlite" in url else f"&schema=s{number}_{len(name)}"),
                *sizes,
            ]
            for name, url in urls.items()
        }
        if chosen.dbos:
            database = base.replace("/postgres?", "/dbos?")
            ways["dbos"] = [chosen.dbos, str(script), database, *numbers]
        for name, command in ways.items():
            command = command if name == "dbos" else [*command, *sizes]
            found.setdefault(name, []).append(measure(command, server))
    return found


def show(found: Mapping[str, list[Mapping[str, Any]]], steps: int) -> None:
    """Print the median of each way."""
    columns = ("steps/s", "client", "server", "commits", "syncs", "log")
    print(f"{'':<18}" + "".join(f"{column:>10}" for column in columns))
    print(f"{'':<18}" + "".join(f"{unit:>10}" for unit in ("", "us/step", "us/step", "", "", "B/step")))
    pace = {name: statistics.median(each["steps_per_second"] for each in rounds) for name, rounds in found.items()}
    for name, rounds in found.items():
        median = {key: statistics.median(each[key] for each in rounds) for key in rounds[0]}
        shown = [median["steps_per_second"], median["client"] / steps * 1e6]
        if name != "sqlite":
            shown += [median["server"] / steps * 1e6, median["commits"], median["syncs"], median["log_bytes"] / steps]
        times = f"   {pace['postgres'] / pace[name]:.2f} times as many on postgres" if name != "postgres" else ""
        print(f"{name:<18}" + "".join(f"{value:>10.0f}" for value in shown) + times)


if __name__ == "__main__":
    main()
