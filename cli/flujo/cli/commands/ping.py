"""`flujoctl ping`: look whether a server answers."""

from __future__ import annotations

import time

import click

from flujo.cli.maintenance import run_interruptible
from flujo.cli.output import emit
from flujo.cli.session import Session, declare, harmless
from flujo.cli.target import ServerTarget, StoreTarget
from flujo.kernel.durations import format_instant


@declare("ping")
def command(session: Session) -> int:
    """Look whether a server answers calls, and show its version, its store, and who you are for it.

    Without --server, that is the one of the store here. Ends with 5 if none answers, or if it does not let you in.
    """
    target = session.target
    if isinstance(target, StoreTarget):
        target = ServerTarget(target.listen)

    async def ask() -> dict[str, object]:
        from flujo.client import Client

        async with Client(target.address, credentials=target.credentials) as client:
            began = time.perf_counter()
            info = await client.info()
            taken = time.perf_counter() - began
        return {
            "address": target.address,
            "version": info.version,
            "store": info.store,
            "kernel": info.kernel_id,
            "started_at": format_instant(info.started_at),
            "principal": info.principal,
            "role": info.role,
            "milliseconds": round(1000 * taken, 1),
        }

    told = run_interruptible(ask)
    if session.output == "name":
        click.echo(told["address"])
    elif session.output != "table":
        emit(told, session.output)
    else:
        who = told["principal"] or "the owner of its socket"
        answer = f"{told['address']} answers in {told['milliseconds']} ms: flujo {told['version']}, {told['store']}"
        print(harmless(answer))
        print(harmless(f"you are {who}, with the role {told['role']}"))
    return 0
