"""One damaged run in a store: a check names it and what to type, that works, and nothing else is lost for it."""

from __future__ import annotations

import shlex
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from cli.conftest import Flujoctl

WORK = "name: work\nsteps: [{name: s, task: echo, inputs: {message: hello}}]\n"


def by_sql(change: str) -> Callable[[Path], None]:
    """Damage of the run `bad`, which was the first one."""

    def damage(store: Path) -> None:
        with closing(sqlite3.connect(store)) as shell:
            shell.execute("PRAGMA foreign_keys = OFF")
            shell.execute(change)
            shell.commit()

    return damage


def flip(store: Path) -> None:
    journal = store / "runs" / "bad" / "journal"
    data = bytearray(journal.read_bytes())
    data[len(data) // 2] ^= 1
    journal.write_bytes(data)


DAMAGE = {
    "its status": ("sqlite", by_sql("UPDATE runs SET status = 'running' WHERE run_id = 'bad'")),
    "its owner": ("sqlite", by_sql("UPDATE runs SET owner = 'somebody' WHERE run_id = 'bad'")),
    "its workflow": ("sqlite", by_sql("UPDATE runs SET workflow = 'other' WHERE run_id = 'bad'")),
    "its last event": ("sqlite", by_sql("UPDATE runs SET seq = seq + 1 WHERE run_id = 'bad'")),
    "an event": ("sqlite", by_sql("UPDATE events SET body = '{}' WHERE run = 1 AND seq = 2")),
    "the type of an event": ("sqlite", by_sql("UPDATE events SET type = 'other' WHERE run = 1 AND seq = 2")),
    "a missing event": ("sqlite", by_sql("DELETE FROM events WHERE run = 1 AND seq = 2")),
    "its journal": ("file", flip),
}


@pytest.mark.parametrize(("scheme", "damage"), DAMAGE.values(), ids=DAMAGE)
def test_a_damaged_run_is_named_and_goes_as_the_check_says(
    scheme: str, damage: Callable[[Path], None], folder: Path, flujoctl: Flujoctl
) -> None:
    """The command that the check prints first is typed as it is; then the store is sound and can be backed up."""
    (folder / "work.yaml").write_text(WORK)
    store = f"{scheme}:store"
    for run_id in ("bad", "good"):
        assert flujoctl("run", "work.yaml", "--id", run_id, "--store", store).code == 0
    damage(folder / "store")

    check = flujoctl("db", "check", "--store", store)
    said = [line.removeprefix("try: ").partition("  #")[0] for line in check.err.splitlines() if "try: " in line]
    forgotten = flujoctl(*shlex.split(said[0])[1:])

    assert check.code == 5
    assert "bad" in check.out
    assert said[0].startswith("flujoctl delete bad ")
    assert forgotten.code == 0, forgotten
    assert flujoctl("list", "-q", "--store", store).out.split() == ["good"]
    assert flujoctl("inspect", "good", "--store", store).code == 0
    assert flujoctl("db", "check", "--store", store).code == 0
    assert flujoctl("db", "backup", "copy", "--store", store).code == 0


@pytest.mark.parametrize(("scheme", "damage"), DAMAGE.values(), ids=DAMAGE)
def test_a_damaged_run_keeps_no_other_from_going(
    scheme: str, damage: Callable[[Path], None], folder: Path, flujoctl: Flujoctl
) -> None:
    """Old runs around it are pruned, and new ones run."""
    (folder / "work.yaml").write_text(WORK)
    store = f"{scheme}:store"
    for run_id in ("bad", "good"):
        assert flujoctl("run", "work.yaml", "--id", run_id, "--store", store).code == 0
    damage(folder / "store")

    pruned = flujoctl("prune", "--older-than", "0s", "--yes", "--store", store)
    new = flujoctl("run", "work.yaml", "--id", "new", "--store", store)

    assert (pruned.code, new.code) == (0, 0)
    assert set(flujoctl("list", "-q", "--store", store).out.split()) - {"bad"} == {"new"}
