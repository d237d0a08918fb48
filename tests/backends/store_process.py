"""A process of its own that writes to a store: `python store_process.py URL OWNER RUNS COMMITS`.

It creates RUNS runs, appends COMMITS batches of one commit each to them, prints `created` and then the number of each
batch that was acknowledged, and closes. It starts writing when a line arrives on its standard input.
"""

from __future__ import annotations

import sys

import anyio

from flujo.backends import open_backend
from flujo.backends.conformance import create, creation, following


async def main(url: str, owner: str, runs: int, commits: int) -> None:
    handle = open_backend(url)
    await handle.open(owner)
    print("open", flush=True)  # noqa: T201
    sys.stdin.readline()
    created = [
        creation(f"{owner}-{number}", owner, uid=f"uid-{owner}-{number}", created_at=number) for number in range(runs)
    ]
    summaries = await create(handle, *created)
    print("created", flush=True)  # noqa: T201
    for number in range(commits):
        batch = [following(summary, 2, steps_done=number + 1) for summary in summaries]
        assert await handle.append(batch) == {}
        summaries = [commit.summary for commit in batch]
        print(number + 1, flush=True)  # noqa: T201
    await handle.close()


if __name__ == "__main__":
    anyio.run(main, sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))
