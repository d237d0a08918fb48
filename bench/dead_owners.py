"""What looking for dead kernels costs beside a long history, and how soon the runs of one are found.

    python bench/dead_owners.py [--runs N] [--folder DIR]

Each figure stands beside the limit it must keep; the exit status is 1 if one does not.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path

import anyio

from figures import Report  # beside this file, which python puts on the path of a script; so is the next
from filling import fill, require_space
from flujo.backends import open_backend
from flujo.backends.conformance import create, creation

KERNELS = 10
SECONDS = 30.0
SHARE_LIMIT_PERCENT = 1.0
CLAIM_LIMIT_MS = 50.0


async def measure(url: str, report: Report) -> None:
    """Let one handle look for a while beside others that live, and then for the runs of one that died."""
    backend = open_backend(url)
    await backend.open("looking")
    others = [open_backend(url) for _ in range(KERNELS)]
    for number, other in enumerate(others):
        await other.open(f"kernel-{number}")
    (run,) = await create(others[0], creation("left", "kernel-0", status="running"))
    begun = time.process_time()
    with anyio.move_on_after(SECONDS):
        raise AssertionError(f"nobody has died: {await backend.wait_for_dead_owners()}")
    share = 100 * (time.process_time() - begun) / SECONDS
    report.figure(f"looking for {KERNELS} kernels, of one core", share, SHARE_LIMIT_PERCENT, " %")

    await others.pop(0).close()
    dead = await backend.wait_for_dead_owners()
    begun = time.perf_counter()
    claimed = await backend.claim_idle(("pending", "running"), ("report",), 100, owner="kernel-0")
    report.figure("claiming what it left", 1e3 * (time.perf_counter() - begun), CLAIM_LIMIT_MS, " ms")
    assert "kernel-0" in dead
    assert [each.run_id for each in claimed] == [run.run_id]
    for other in [*others, backend]:
        await other.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--runs", type=int, default=1_000_000)
    parser.add_argument("--folder", type=Path, help="where the store goes; default: a temporary folder here")
    arguments = parser.parse_args()
    report = Report("Dead kernels")
    with tempfile.TemporaryDirectory(dir=arguments.folder or Path.cwd(), prefix=".bench-") as folder:
        require_space(Path(folder), arguments.runs)
        fill(Path(folder) / "state.db", arguments.runs)
        anyio.run(measure, f"sqlite:{folder}/state.db", report)
    sys.exit(not report.all_kept)


if __name__ == "__main__":
    main()
