"""flujoctl export, import and db: what they do and print, on real stores."""

from __future__ import annotations

import io
import json
import os
import shlex
import shutil
import sqlite3
import sys
from contextlib import closing
from pathlib import Path

import pytest
import yaml

from backends.sealing import seal
from cli.conftest import Copied, Ended, Flujoctl
from flujo.cli import session, text
from shipped import ON_DISK

FIXTURES = Path(__file__).parents[1] / "backends" / "fixtures"

GATED = """\
name: gated
steps:
  - {name: before, task: echo, inputs: {message: hello}}
  - {name: approve, task: wait_signal}
outputs: {by: "{{ steps.approve.result.by }}"}
"""

SMALL = """\
name: small
steps:
  - {name: one, task: echo, inputs: {message: "é"}}
"""


PROGRAM = """\
from flujo.kernel import Context, workflow

@workflow(name="listening")
async def listening(ctx: Context):
    return await ctx.wait_signal("go")

@workflow(name="parent")
async def parent(ctx: Context):
    return await ctx.run_child(listening, name="child")
"""


@pytest.fixture(autouse=True)
def runs(copied: Copied) -> None:
    """A database with a run that waits for a signal and one that has completed."""
    copied(fill)


def fill(flujoctl: Flujoctl) -> None:
    """Make those runs."""
    for name, content in (("gated.yaml", GATED), ("small.yaml", SMALL), ("program_of_db_tests.py", PROGRAM)):
        Path(name).write_text(content, encoding="utf-8")
    assert flujoctl("run", "gated.yaml", "--id", "gate", "--no-wait", "--label", "team=a").code == 7
    assert flujoctl("run", "small.yaml", "--id", "small").code == 0


def change(statement: str) -> None:
    """Reach into the database as nobody should, so that it looks as if flujo had written it."""
    with closing(sqlite3.connect(".flujo/state.db")) as connection, connection:
        assert connection.execute(statement).rowcount == 1
        seal(connection)


def tries(ended: Ended) -> list[str]:
    return [line.removeprefix("try: ") for line in ended.err.splitlines() if line.startswith("try: ")]


STORES = pytest.mark.parametrize("store", [f"{scheme}:other/store" for scheme in ON_DISK], ids=ON_DISK)


# -- export and import ---------------------------------------------------------------------------------------------


@STORES
def test_a_run_goes_on_where_it_was_brought(store: str, flujoctl: Flujoctl) -> None:
    """With the commands that are suggested, and to the same end; nothing but the document is needed."""
    document = flujoctl("export", "gate")
    Path("gate.json").write_text(document.out, encoding="utf-8")
    Path("gated.yaml").unlink()

    imported = flujoctl("import", "gate.json", "--store", store)

    assert (document.code, document.err) == (0, "")
    assert (imported.code, imported.out) == (0, "run gate is imported\n")
    assert tries(imported) == [f"flujoctl resume gate --store {store}"]
    assert flujoctl("signal", "gate", "approve", '{"by":"ann"}', "--store", store).code == 0
    resumed = flujoctl("resume", "gate", "--store", store, "-q", "-o", "json")
    assert json.loads(resumed.out)["output"] == {"by": "ann"}
    assert json.loads(resumed.out)["labels"] == {"team": "a"}
    again = flujoctl("import", "gate.json", "--store", store)
    assert (again.code, again.out) == (0, "run gate exists already, with more events\n")
    assert tries(again) == [f"flujoctl inspect gate --store {store}"]


def test_an_export_can_go_into_a_file(flujoctl: Flujoctl) -> None:
    """Readable by its owner only, whole, and never over another file unless that is asked for."""
    first = flujoctl("export", "gate", "--to", "gate.json")
    before = Path("gate.json").read_text(encoding="utf-8")
    second = flujoctl("export", "small", "--to", "gate.json")
    untouched = Path("gate.json").read_text(encoding="utf-8")
    third = flujoctl("export", "small", "--to", "gate.json", "--force", "-q")

    assert (first.code, first.out) == (0, "")
    assert first.err.startswith("run gate (waiting, 5 events) written to gate.json, ")
    assert json.loads(before)["run"]["summary"]["run_id"] == "gate"
    assert os.stat("gate.json").st_mode & 0o777 == 0o600
    assert second.code == 4
    assert untouched == before
    assert (third.code, third.out, third.err) == (0, "", "")
    assert json.loads(Path("gate.json").read_text(encoding="utf-8"))["run"]["summary"]["run_id"] == "small"
    assert [name for name in os.listdir() if "json" in name] == ["gate.json"]


def test_an_export_that_cannot_be_written_leaves_nothing(flujoctl: Flujoctl, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither the file nor a part of it; a folder that is not there is an error of one line."""

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    missing = flujoctl("export", "gate", "--to", "no/such/gate.json")
    monkeypatch.setattr(os, "fsync", full)
    failed = flujoctl("export", "gate", "--to", "gate.json")

    assert (missing.code, failed.code) == (5, 5)
    assert missing.err.splitlines()[0].startswith("error[store-unavailable]: no/such/gate.json: it cannot be written")
    assert "No space left on device" in failed.err
    assert [name for name in os.listdir() if "json" in name] == []


def test_children_come_along_if_they_are_asked_for(flujoctl: Flujoctl) -> None:
    """Otherwise the command says which run is missing."""
    assert flujoctl("run", "program_of_db_tests.py:parent", "--id", "p", "--no-wait").code == 7
    alone = flujoctl("export", "p")
    family = flujoctl("export", "p", "--with-children", "--to", "family.json")
    imported = flujoctl("import", "family.json", "--store", "sqlite:other.db", "-o", "jsonl")

    assert "it waits for run p.child, which is not in the document; --with-children includes it" in alone.err
    assert "and 1 it has started" in family.err
    assert [json.loads(line) for line in imported.out.splitlines()] == [
        {"run_id": "p.child", "outcome": "created"},
        {"run_id": "p", "outcome": "created"},
    ]
    assert flujoctl("import", "family.json", "--store", "sqlite:other.db", "-o", "name").out == "p.child\np\n"


def test_a_document_may_come_through_a_pipe(flujoctl: Flujoctl, monkeypatch: pytest.MonkeyPatch) -> None:
    """As `-`."""
    document = flujoctl("export", "gate").out
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(document.encode())))

    imported = flujoctl("import", "-", "--store", "sqlite:other.db")

    assert (imported.code, imported.out) == (0, "run gate is imported\n")


@pytest.mark.parametrize(
    ("name", "content", "code", "told"),
    [
        ("nosuch.json", None, 3, "there is no file 'nosuch.json'"),
        ("text.json", "hello", 2, "this is no export of a run that can be imported"),
        ("newer.json", '{"format": 2}', 2, "it has format 2, this release knows up to 1"),
    ],
)
def test_what_is_no_export_is_refused(
    name: str, content: str | None, code: int, told: str, flujoctl: Flujoctl, folder: Path
) -> None:
    """One line that says why, a code of its own, and no store is made for it."""
    if content is not None:
        Path(name).write_text(content, encoding="utf-8")

    ended = flujoctl("import", name, "--store", "sqlite:other.db")

    assert ended.code == code
    assert told in ended.err.splitlines()[0]
    assert not (folder / "other.db").exists()


def test_an_id_that_is_taken_is_a_conflict(flujoctl: Flujoctl) -> None:
    """The run that is there stays, and the code says so."""
    document = flujoctl("export", "gate").out
    Path("gate.json").write_text(document, encoding="utf-8")
    flujoctl("delete", "gate")
    flujoctl("run", "small.yaml", "--id", "gate")

    ended = flujoctl("import", "gate.json")

    assert ended.code == 4
    assert "it is another run" in ended.err
    assert json.loads(flujoctl("inspect", "gate", "-o", "json").out)["workflow"] == "small"


# -- check ---------------------------------------------------------------------------------------------------------


def test_a_sound_store(flujoctl: Flujoctl) -> None:
    """Ends with 0 and says how much was looked at; a store that is not there is not made."""
    ended = flujoctl("db", "check")

    assert (ended.code, ended.out) == (0, "2 runs, 9 events: all sound\n")
    assert ended.err == "interrupted, and continued by a resume: 1 run\n"
    assert json.loads(flujoctl("db", "check", "-o", "json").out)["findings"] == []
    assert flujoctl("db", "check", "--store", "sqlite:nosuch.db").code == 3
    assert not Path("nosuch.db").exists()


def test_a_damaged_run_is_named_with_what_helps(flujoctl: Flujoctl) -> None:
    """Ends with 5, in every format."""
    change("UPDATE events SET body = '{' WHERE seq = 2 AND run = (SELECT run FROM runs WHERE run_id = 'gate')")

    ended = flujoctl("db", "check", "-q")
    full = flujoctl("db", "check")

    assert ended.code == 5
    assert any(line.startswith("damaged  gate  event 2 (step_started) is malformed") for line in ended.out.splitlines())
    assert ended.out.splitlines()[-1].startswith("2 runs, ")
    assert ended.out.splitlines()[-1].endswith(": 1 damaged")
    assert "flujoctl delete gate  # forget the run" in tries(full)
    assert flujoctl("db", "check", "-o", "name").out == "gate\n"
    (finding,) = json.loads(flujoctl("db", "check", "-o", "json").out)["findings"]
    assert (finding["severity"], finding["run_id"]) == ("damaged", "gate")
    (line,) = flujoctl("db", "check", "-o", "jsonl").out.splitlines()
    assert json.loads(line) == finding
    assert yaml.safe_load(flujoctl("db", "check", "-o", "yaml").out)["damaged"] == 1


def test_a_run_of_a_newer_release_is_no_damage(flujoctl: Flujoctl) -> None:
    """Ends with 4 and says to upgrade."""
    change("UPDATE events SET format = 9 WHERE seq = 2 AND run = (SELECT run FROM runs WHERE run_id = 'gate')")

    ended = flujoctl("db", "check")

    assert ended.code == 4
    assert ended.out.splitlines()[-1].endswith(": 1 written by a newer release")
    assert tries(ended) == ["pip install --upgrade flujoctl"]


# -- backup and restore --------------------------------------------------------------------------------------------


@pytest.fixture(params=["sqlite", "file"])
def store(request: pytest.FixtureRequest, flujoctl: Flujoctl, monkeypatch: pytest.MonkeyPatch) -> str:
    """The same runs in a store of this kind, which commands find by themselves."""
    if request.param == "sqlite":
        return "sqlite:.flujo/state.db"
    url = "file:.flujo/store"
    assert flujoctl("db", "copy", "sqlite:.flujo/state.db", url).code == 0
    monkeypatch.setenv("FLUJO_STORE", url)
    return url


def test_a_backup_is_a_store_and_comes_back(store: str, flujoctl: Flujoctl) -> None:
    """It holds what was there, is never overwritten, and replaces a store only if that is asked for."""
    before = flujoctl("list", "-o", "json").out
    made = flujoctl("db", "backup", "copy")
    again = flujoctl("db", "backup", "copy")
    kind = store.partition(":")[0]

    assert made.code == 0
    assert made.out.startswith(f"{store} is copied to copy, ")
    assert again.code == 4
    assert flujoctl("list", "-o", "json", "--store", f"{kind}:copy").out == before

    assert flujoctl("delete", "small").code == 0
    refused = flujoctl("db", "restore", "copy")
    assert refused.code == 4
    assert "or replace this one: --force" in tries(refused)
    restored = flujoctl("db", "restore", "copy", "--force", "-o", "json")
    assert restored.code == 0
    assert json.loads(restored.out)["backup"] == "copy"
    assert flujoctl("list", "-o", "json").out == before
    assert flujoctl("db", "check").code == 0

    elsewhere = f"{kind}:new/place"
    assert flujoctl("db", "restore", "copy", "--store", elsewhere).code == 0
    assert flujoctl("signal", "gate", "approve", '{"by":"ann"}', "--resume", "--store", elsewhere).code == 0
    assert flujoctl("db", "check", "--store", elsewhere).code == 0


def test_what_is_no_backup_is_refused(store: str, flujoctl: Flujoctl) -> None:
    """The store stays as it is, and nothing is left beside it."""
    before = flujoctl("list", "-o", "json").out
    Path("folder").mkdir()
    Path("folder/file").write_text("hello", encoding="utf-8")
    names = sorted(os.listdir(".flujo"))

    assert flujoctl("db", "restore", "nosuch", "--force").code == 3
    assert flujoctl("db", "restore", "gated.yaml", "--force").code == 5
    assert flujoctl("db", "restore", "folder", "--force").code == 5
    assert flujoctl("list", "-o", "json").out == before
    assert sorted(os.listdir(".flujo")) == names


def test_other_backends_have_tools_of_their_own(flujoctl: Flujoctl) -> None:
    """What cannot be restored here is said."""
    Path("copy").touch()

    assert flujoctl("db", "restore", "copy", "--store", "memory:").code == 2


@pytest.mark.parametrize("output", ["json", "yaml", "jsonl"])
def test_info_shows_what_a_store_is_made_of(store: str, output: str, flujoctl: Flujoctl) -> None:
    """The same for people and for programs."""
    ended = flujoctl("db", "info", "-o", output)

    assert ended.code == 0
    details = yaml.safe_load(ended.out)
    assert (details["store"], details["runs"]) == (store, 2)
    assert f"runs{' ' * 3}" in flujoctl("db", "info").out


# -- copy ----------------------------------------------------------------------------------------------------------


@STORES
def test_runs_are_copied_and_a_repeat_changes_nothing(store: str, flujoctl: Flujoctl) -> None:
    """All of them, or those that were asked for."""
    some = flujoctl("db", "copy", "sqlite:.flujo/state.db", store, "--status", "waiting")
    rest = flujoctl("db", "copy", "sqlite:.flujo/state.db", store)
    again = flujoctl("db", "copy", "sqlite:.flujo/state.db", store, "-o", "json")
    none = flujoctl("db", "copy", "sqlite:.flujo/state.db", store, "--workflow", "other")

    assert some.out == f"runs in {store}: 1 copied\n"
    assert rest.out == f"runs in {store}: 1 copied, 1 existed already\n"
    assert json.loads(again.out) == {"created": 0, "unchanged": 2, "gone_on": 0, "refused": 0, "refusals": []}
    assert none.out == f"runs in {store}: 0 copied\n"
    assert {some.code, rest.code, again.code, none.code} == {0}
    for run_id in ("gate", "small"):
        there, here = (flujoctl("events", run_id, "-o", "json", *at).out for at in (("--store", store), ()))
        assert there == here


def test_a_run_that_is_left_out_is_named_with_what_helps(flujoctl: Flujoctl) -> None:
    """Ends with 4; the commands name the store they are about."""
    other = "file:other"
    flujoctl("db", "copy", "sqlite:.flujo/state.db", other)
    flujoctl("signal", "gate", "approve", '{"by":"ann"}', "--resume")

    ended = flujoctl("db", "copy", "sqlite:.flujo/state.db", other)

    assert ended.code == 4
    assert ended.out.splitlines()[1].startswith("left out  gate  run 'gate' exists already with fewer events, 5 of ")
    assert ended.out.splitlines()[-1] == f"runs in {other}: 0 copied, 1 existed already, 1 left out"
    assert tries(ended) == [
        f"flujoctl inspect gate --store {other}",
        f"flujoctl delete gate --store {other}  # then bring it in again",
    ]


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("sqlite:.flujo/state.db", "sqlite:./.flujo/state.db"), "are the same store"),
        (("sqlite:.flujo/state.db", "memory:"), "name a store on disk"),
        (("sqlite:.flujo/state.db", "sqlite:b", "--store", "sqlite:c"), "names both its stores"),
        (("sqlite:.flujo/state.db", "nosuch"), "a store URL begins with a scheme"),
    ],
)
def test_a_copy_needs_two_stores(arguments: tuple[str, ...], told: str, flujoctl: Flujoctl) -> None:
    """What cannot be meant ends with 2."""
    ended = flujoctl("db", "copy", *arguments)

    assert ended.code == 2
    assert told in ended.err


# -- all of them ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "arguments",
    [("db", "info"), ("db", "restore", "copy"), ("db", "migrate")],
    ids=lambda arguments: "-".join(arguments[:2]),
)
@pytest.mark.parametrize("named", ["option", "variable"])
def test_a_server_is_refused(
    named: str, arguments: tuple[str, ...], flujoctl: Flujoctl, monkeypatch: pytest.MonkeyPatch
) -> None:
    """These commands run beside the store, and say so, however the server was named."""
    if named == "variable":
        monkeypatch.setenv("FLUJO_SERVER", "unix:nosuch.sock")
        ended = flujoctl(*arguments)
    else:
        ended = flujoctl(*arguments, "--server", "unix:nosuch.sock")

    assert ended.code == 2
    assert "run it beside the store, with --store URL" in ended.err
    assert not Path("copy").exists()


@pytest.mark.parametrize(
    "arguments",
    [("export", "gate"), ("import", "gate.json"), ("db", "check"), ("db", "backup", "copy")],
    ids=lambda arguments: "-".join(arguments[:2]),
)
def test_a_server_is_asked_for_what_it_can_do_itself(arguments: tuple[str, ...], flujoctl: Flujoctl) -> None:
    """And not the store here in its place, when none answers."""
    assert flujoctl("export", "gate", "--to", "gate.json").code == 0

    ended = flujoctl(*arguments, "--server", "unix:nosuch.sock")

    assert ended.code == 5
    assert "cannot be reached" in ended.err
    assert not Path("copy").exists()


def test_a_store_that_is_up_to_date_needs_no_migration(flujoctl: Flujoctl) -> None:
    """It is left as it is."""
    ended = flujoctl("db", "migrate")

    assert (ended.code, ended.out) == (0, "sqlite:.flujo/state.db is up to date\n")


@pytest.mark.parametrize(("wanted", "printed"), [
    ("json", '{"store": "sqlite:old/state.db", "migrated": true}'),
    ("jsonl", '{"store": "sqlite:old/state.db", "migrated": true}'),
    ("name", "sqlite:old/state.db"),
])  # fmt: skip
def test_a_program_is_told_whether_a_store_was_migrated(flujoctl: Flujoctl, wanted: str, printed: str) -> None:
    """As JSON, or by the name of the store; a second time there is nothing to migrate."""
    shutil.copytree(FIXTURES / "schema-1" / "closed", "old")

    first, second = (flujoctl("db", "migrate", "--store", "sqlite:old/state.db", "-o", wanted) for _ in range(2))

    assert (first.code, second.code) == (0, 0)
    if wanted == "name":
        assert first.out == second.out == f"{printed}\n"
    else:
        assert json.loads(first.out) == json.loads(printed)
        assert json.loads(second.out) == {**json.loads(printed), "migrated": False}


def test_a_store_of_an_earlier_release_is_migrated_by_the_command_that_is_suggested(flujoctl: Flujoctl) -> None:
    """Looking at it changes nothing; afterwards it passes a check."""
    shutil.copytree(FIXTURES / "schema-1" / "closed", "old")
    before = Path("old/state.db").read_bytes()

    looked = flujoctl("db", "check", "--store", "sqlite:old/state.db")
    after = Path("old/state.db").read_bytes()
    suggested = shlex.split(tries(looked)[0], comments=True)
    migrated = flujoctl(*suggested[1:])

    assert looked.code == 4
    assert after == before
    assert (migrated.code, migrated.out) == (0, "sqlite:old/state.db is migrated\n")
    assert flujoctl("db", "check", "--store", "sqlite:old/state.db").code == 0


def test_a_torn_database_is_said_to_be_damaged(flujoctl: Flujoctl) -> None:
    """With whatever can be said of it, and never with a traceback."""
    for number in range(40):
        flujoctl("run", "small.yaml", "--id", f"r{number}", "-q")
    path = Path(".flujo/state.db")
    content = bytearray(path.read_bytes())
    size = 4096
    for page in range(4, len(content) // size):
        content[page * size : page * size + 64] = b"\xff" * 64
    path.write_bytes(content)

    ended = flujoctl("db", "check")

    assert ended.code == 5
    assert "Traceback" not in ended.err


@pytest.mark.parametrize(
    "arguments",
    [("db", "check"), ("db", "copy", "sqlite:.flujo/state.db", "sqlite:other.db")],
    ids=["check", "copy"],
)
def test_a_person_sees_how_far_it_is(
    arguments: tuple[str, ...], flujoctl: Flujoctl, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a terminal, and not with -q."""
    monkeypatch.setattr(session, "is_terminal", lambda stream: True)
    monkeypatch.setenv("FORCE_COLOR", "1")

    assert "2/2" in flujoctl(*arguments).err
    assert "2/2" not in flujoctl(*arguments, "-q").err


@pytest.mark.parametrize(
    ("number", "told"),
    [(0, "0 bytes"), (1023, "1023 bytes"), (1024, "1.0 KiB"), (5 * 1024**2, "5.0 MiB"), (2**40, "1024.0 GiB")],
)
def test_sizes_are_readable(number: int, told: str) -> None:
    """To three digits or so."""
    assert text.size_text(number) == told
