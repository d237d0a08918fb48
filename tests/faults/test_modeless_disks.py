"""A disk with neither modes nor links, such as a memory stick: all works there but what needs a link, which says so."""

from __future__ import annotations

from pathlib import Path

import pytest

from acceptance.terminal import STORES, Terminal
from faults.machine import Missing, compile_disk
from shipped import ON_DISK

FLOW = """\
name: flow
steps:
  - {name: large, task: shell, inputs: {command: "head -c 100000 /dev/zero | tr '\\\\0' x"}}
  - {name: go, task: wait_signal}
  - {name: put, task: write_file, inputs: {path: out.txt, content: "{{ steps.large.result.stdout }}"}}
"""


@pytest.fixture(scope="session")
def modeless(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The library that makes every disk one of those."""
    try:
        return compile_disk(tmp_path_factory.mktemp("library"), "modeless.c")
    except Missing as missing:
        pytest.skip(str(missing))


@pytest.mark.parametrize("store", STORES, ids=ON_DISK)
def test_a_store_lives_on_a_disk_without_modes(store: str, modeless: Path, tmp_path: Path) -> None:
    """Runs, workspaces, backups and what is restored of them; it was "Operation not permitted" before anything."""
    terminal = Terminal(tmp_path / "terminal", store)
    terminal.environment["LD_PRELOAD"] = str(modeless)
    terminal.write("flow.yaml", FLOW)
    began = terminal.flujoctl("run", "flow.yaml", "--id", "night", "--no-wait")
    backup = terminal.flujoctl("db", "backup", "copy")
    restored = terminal.flujoctl("db", "restore", "copy", "--store", f"{store.partition(':')[0]}:restored")
    ended = terminal.flujoctl("signal", "night", "go", "--resume")
    checks = [
        terminal.flujoctl("db", "check", "--store", each) for each in (store, f"{store.partition(':')[0]}:restored")
    ]
    removed = terminal.flujoctl("delete", "night")

    assert (began.code, backup.code, restored.code, ended.code, removed.code) == (7, 0, 0, 0, 0), (
        began,
        restored,
        ended,
    )
    assert [each.code for each in checks] == [0, 0], checks
    assert not list(tmp_path.rglob("out.txt"))
