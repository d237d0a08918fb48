"""Records, and what the bytes of a journal are worth: every flipped byte, every cut, everything a crash may leave."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from flujo.backends.conformance import creation, following
from flujo.backends.file.index import Damage, Entry, Removed
from flujo.backends.file.journal import NOTHING_BEFORE, Rest, Scan, encode, from_json, scan, to_json
from flujo.backends.file.run_folder import EventReader, UnsoundError, survey
from flujo.kernel.backend import Commit


def commits(number: int) -> list[Commit]:
    """A creation of run `a` and the commits that follow it."""
    made = [creation("a", uid="uid-a", labels='{"größe":"\\n"}')]
    while len(made) < number:
        made.append(following(made[-1].summary, 2, taken=[len(made)]))
    return made


def written(made: list[Commit]) -> tuple[bytes, list[int]]:
    """A journal of commits, and where each of its records ends."""
    journal, ends, checksum = b"", [], NOTHING_BEFORE
    for commit in made:
        line, checksum = encode(to_json(commit.rows, commit.summary, commit.taken), checksum)
        journal += line
        ends.append(len(journal))
    return journal, ends


JOURNAL, ENDS = written(commits(3))


def flipped(data: bytes, ways: Sequence[int] = (0x00, 0x0A, 0x20, 0x30)) -> Iterator[tuple[int, bytes]]:
    """The data with one byte changed, in several ways, for every byte."""
    for position, byte in enumerate(data):
        for other in {byte ^ 0x01, *ways} - {byte}:
            yield position, data[:position] + bytes([other]) + data[position + 1 :]


def record_at(position: int) -> int:
    """Where the record that holds this byte begins."""
    return max(end for end in (0, *ENDS) if end <= position)


# -- writing and reading ------------------------------------------------------------------------------------------


def test_a_journal_is_read_as_it_was_written() -> None:
    """Every record comes back with its events, its summary and the requests it answers."""
    found = scan(JOURNAL)

    assert (found.rest, found.end) == (Rest.NOTHING, len(JOURNAL))
    assert [line.end for line in found.lines] == ENDS
    for commit, line in zip(commits(3), found.lines, strict=True):
        content = from_json(line.content)
        assert content == (list(commit.rows), commit.summary, list(commit.taken), {}, 0)


GOLDEN = (
    r"""00000126 56437ae60b94070d {"events":[[1,1001,"run_created",1,"{\"step\":\"s1\"}","{\"day\":1}"]],"""
    r""""summary":{"run_id":"a","uid":"uid-a","workflow":"report","status":"running","seq":1,"owner":"one","token":1,"""
    r""""labels":"{\"größe\":\"\\n\"}","created_at":1000,"updated_at":1000,"steps_done":0,"retries":0,"resume_count":0}}"""
    "\n"
    r"""0000015d 207c01d06efc55ec {"events":[[2,1002,"step_started",1,"{\"step\":\"s2\"}",null],"""
    r"""[3,1003,"step_started",1,"{\"step\":\"s3\"}",null]],"summary":{"run_id":"a","uid":"uid-a","workflow":"report","""
    r""""status":"running","seq":3,"owner":"one","token":1,"labels":"{\"größe\":\"\\n\"}","created_at":1000,"""
    r""""updated_at":1003,"steps_done":0,"retries":0,"resume_count":0},"taken":[1]}"""
    "\n"
)
"""A journal as format 1 has it. It is never changed: what one release has written, every later one reads."""


def test_a_journal_of_the_first_format_is_read() -> None:
    """A journal written when the format was new says what it said then."""
    found = scan(GOLDEN.encode())

    assert found.rest is Rest.NOTHING
    for commit, line in zip(commits(2), found.lines, strict=True):
        assert from_json(line.content) == (list(commit.rows), commit.summary, list(commit.taken), {}, 0)


def test_a_record_is_a_line_people_can_read() -> None:
    """A line is a length, a checksum and JSON with the names of the summary, without its nulls."""
    first, _, third, nothing = JOURNAL.split(b"\n")
    length, checksum, text = first.split(b" ", 2)

    assert (int(length, 16), len(checksum), nothing) == (len(text), 16, b"")
    summary = json.loads(text)["summary"]
    assert summary["run_id"] == "a"
    assert None not in summary.values()
    assert json.loads(third[26:])["taken"] == [2]


def test_a_journal_can_be_read_from_any_record_on() -> None:
    """Reading after a record takes nothing but where it ends and its checksum."""
    whole = scan(JOURNAL)
    for before, line in zip(whole.lines, whole.lines[1:], strict=False):
        found = scan(JOURNAL[before.end :], before.end, before.checksum)

        assert found.lines[0] == line
        assert found.end == len(JOURNAL)


def test_json_of_another_form_is_an_error() -> None:
    """What matches its checksum and is no record of ours raises ValueError and nothing else."""
    for text in (b"{}", b"[]", b"7", b"{", b'{"events":[[1]],"summary":{}}', b'{"events":7,"summary":{}}', b"\xff"):
        with pytest.raises(ValueError):  # noqa: PT011 - the one class that is promised
            from_json(text)


# -- what stands at the end ---------------------------------------------------------------------------------------


def test_a_cut_journal_is_sound_up_to_the_cut() -> None:
    """Wherever a journal is cut, its whole records are sound, and the beginning of the next one is torn."""
    for size in range(len(JOURNAL)):
        found = scan(JOURNAL[:size])

        assert found.end == record_at(size)
        assert found.rest is (Rest.NOTHING if size == found.end else Rest.TORN)


def test_zeros_instead_of_an_end_are_torn() -> None:
    """A power cut may leave the size of an append without its last pages, which are zeros then."""
    for size in range(ENDS[1], len(JOURNAL) - 1):
        found = scan(JOURNAL[:size].ljust(len(JOURNAL), b"\0"))

        assert (found.end, found.rest) == (ENDS[1], Rest.TORN)


def test_every_flipped_byte_is_damage() -> None:
    """No byte of a whole record can change without being noticed, and none makes its record look torn."""
    for position, data in flipped(JOURNAL):
        found = scan(data)

        assert (found.end, found.rest) == (record_at(position), Rest.DAMAGED), (position, data[position])
        assert found.problem


def test_a_record_that_is_missing_or_moved_is_damage() -> None:
    """A record fits only after the one it was written after, whichever records there are."""
    first, second, third = (line + b"\n" for line in JOURNAL.splitlines())
    for data, end in (
        (second + third, 0),
        (first + third, ENDS[0]),
        (first + first, ENDS[0]),
        (first + third + second, ENDS[0]),
        (first + second + second, ENDS[1]),
    ):
        found = scan(data)

        assert (found.end, found.rest) == (end, Rest.DAMAGED)


def test_what_is_no_beginning_of_a_record_is_damage() -> None:
    """Bytes of anything else at the end of a journal are not taken for a torn record."""
    for rest in (b"x", b"0000000x", b"00000010_", b"00000010 ABCDEF", b"\0x", b"0000\x000000", b"\xff" * 30):
        assert scan(JOURNAL + rest).rest is Rest.DAMAGED, rest


def test_a_hole_in_a_record_is_damage() -> None:
    """A last page without an earlier one cannot be told from damage, so it counts as such."""
    data = JOURNAL[: ENDS[1]] + bytes(40) + JOURNAL[ENDS[1] + 40 :]

    assert scan(data).rest is Rest.DAMAGED


# -- how a run stands ---------------------------------------------------------------------------------------------


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """The folder of the run `a`."""
    folder = tmp_path / "a"
    folder.mkdir()
    return folder


def put(run: Path, journal: bytes) -> None:
    (run / "journal").write_bytes(journal)


def known(found: Scan, number: int, *, durable: bool = True) -> Entry:
    """What the index says of a journal that had `number` records."""
    line = found.lines[number - 1]
    return Entry("a", line.end, line.checksum, 1, durable, from_json(line.content).summary)


def test_every_flipped_byte_is_reported(run: Path) -> None:
    """Without any index, a run whose journal has a wrong byte is damaged from that record on; the summary is the last
    sound one."""
    summaries = [commit.summary for commit in commits(3)]
    for position, data in flipped(JOURNAL, ways=()):
        put(run, data)
        found = survey(run, None)

        assert isinstance(found, Entry)
        assert found.damage is not None
        assert found.damage.offset == record_at(position)
        sound = ENDS.index(record_at(position)) if position >= ENDS[0] else None
        assert found.summary.status == ("failed" if sound is None else "running")
        assert sound is None or found.summary == summaries[sound]


def test_every_cut_is_not_yet_written_or_reported(run: Path) -> None:
    """A cut end is a record that was not written yet, unless somebody knows that it was acknowledged."""
    whole = scan(JOURNAL)
    for size in range(len(JOURNAL)):
        put(run, JOURNAL[:size])
        ignorant, informed = survey(run, None), survey(run, known(whole, 3))
        unsynced = survey(run, known(whole, 3, durable=False))

        if record_at(size) == 0:
            assert ignorant == Removed("a")
        else:
            assert isinstance(ignorant, Entry)
            assert (ignorant.length, ignorant.damage) == (record_at(size), None)
        assert unsynced == ignorant
        assert isinstance(informed, Entry)
        assert informed.damage is not None
        assert informed.damage.offset == record_at(size)
        assert informed.summary == commits(3)[2].summary


def test_a_settled_run_knows_how_long_it_was(run: Path) -> None:
    """Without any index, `state.json` tells that an end was cut off. One of an earlier run, or unsynced, does not."""
    state = {"uid": "uid-a", "journal": {"length": len(JOURNAL), "durable": True}}
    put(run, JOURNAL[: ENDS[1]])
    for text, is_damaged in (
        (json.dumps(state), True),
        (json.dumps({**state, "uid": "another"}), False),
        (json.dumps({**state, "journal": {"length": len(JOURNAL), "durable": False}}), False),
        (json.dumps(state)[:-1], False),
        ("7", False),
        ('{"journal": 7}', False),
    ):
        (run / "state.json").write_text(text)
        found = survey(run, None)

        assert isinstance(found, Entry)
        assert (found.damage is not None) == is_damaged, text


def test_new_records_are_read_after_the_known_part(run: Path) -> None:
    """What follows the known part is enough, as long as it fits; if not, the whole journal is read."""
    whole = scan(JOURNAL)
    put(run, JOURNAL)
    for number in (1, 2):
        found = survey(run, known(whole, number))
        assert isinstance(found, Entry)
        assert (found.length, found.summary.seq) == (len(JOURNAL), 5)
    stale = known(whole, 1)._replace(checksum=b"another.", summary=creation("a", uid="earlier").summary)
    found = survey(run, stale)

    assert isinstance(found, Entry)
    assert (found.damage, found.summary.uid) == (None, "uid-a")


def test_a_run_without_a_journal_is_damaged(run: Path) -> None:
    """A folder whose journal is missing, a link or a folder is reported and not taken for nothing."""
    assert isinstance(survey(run.parent / "b", None), Removed)
    for make in (
        lambda journal: None,
        lambda journal: journal.symlink_to("elsewhere"),
        lambda journal: journal.unlink() or journal.mkdir(),
    ):
        make(run / "journal")
        found = survey(run, None)
        assert isinstance(found, Entry)
        assert found.damage is not None
        assert (found.summary.run_id, found.summary.status) == ("a", "failed")


def test_a_journal_of_another_run_is_damaged(run: Path) -> None:
    """A folder that somebody copied under another name is not taken for a run of that name."""
    put(run, JOURNAL)
    copy = run.rename(run.with_name("b"))
    found = survey(copy, None)

    assert isinstance(found, Entry)
    assert found.damage == Damage(0, "it belongs to the run 'a'")


def test_a_mark_stands_until_it_is_removed(run: Path) -> None:
    """A run that is marked as damaged stays so, whatever becomes of its journal, until the mark goes."""
    put(run, JOURNAL)
    (run / "damaged.json").write_text('{"offset": 7, "problem": "worms"}')
    marked = survey(run, None)
    (run / "damaged.json").write_text('{"offset": "x"}')
    scribbled = survey(run, None)
    (run / "damaged.json").unlink()
    cured = survey(run, None)

    assert isinstance(marked, Entry)
    assert isinstance(scribbled, Entry)
    assert isinstance(cured, Entry)
    assert (marked.damage, cured.damage) == (Damage(7, "worms"), None)
    assert scribbled.damage is not None


# -- reading events -----------------------------------------------------------------------------------------------


def test_pages_of_a_long_journal_are_read_from_where_they_begin(run: Path) -> None:
    """Every page of every size gives its events, forwards and backwards, also while the journal grows."""
    made = commits(40)
    journal, ends = written(made)
    rows = [row for commit in made for row in commit.rows]
    put(run, journal)
    found = survey(run, None)
    assert isinstance(found, Entry)
    half = found._replace(length=ends[19])
    reader = EventReader()

    assert reader.read(run, half, 0, 1_000) == rows[: 1 + 2 * 19]
    assert reader.read(run, half, 39, 10) == []
    for after in (*range(len(rows) + 2), *range(len(rows), -1, -1)):
        for limit in (1, 2, 7):
            assert reader.read(run, found, after, limit) == rows[after : after + limit]
            assert EventReader().read(run, found, after, limit) == rows[after : after + limit]


def test_records_longer_than_a_chunk_are_read(run: Path) -> None:
    """A record of several megabytes is read whole, with small ones before and after it."""
    made = commits(3)
    large = made[1].rows[0]._replace(payload='"' + "x" * 3_000_000 + '"')
    made[1] = made[1]._replace(rows=(large, *made[1].rows[1:]))
    put(run, written(made)[0])
    found = survey(run, None)
    assert isinstance(found, Entry)

    assert EventReader().read(run, found, 1, 1) == [large]
    assert [row.seq for row in EventReader().read(run, found, 0, 9)] == [1, 2, 3, 4, 5]


def test_reads_that_come_in_pieces_are_put_together(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A system that gives less than it was asked for, as every one does above 2 GiB, makes no journal look cut."""
    put(run, JOURNAL)
    whole = survey(run, None)
    assert isinstance(whole, Entry)
    rows = EventReader().read(run, whole, 0, 99)
    real = os.pread
    monkeypatch.setattr(os, "pread", lambda file, size, position: real(file, min(size, 7), position))

    assert survey(run, None) == whole
    assert EventReader().read(run, whole, 0, 99) == rows
    assert whole.length == len(JOURNAL)


def test_a_damaged_page_is_not_read(run: Path) -> None:
    """Whatever byte changes after the index was written, reading the events says so."""
    put(run, JOURNAL)
    found = survey(run, None)
    assert isinstance(found, Entry)
    for _, data in flipped(JOURNAL, ways=()):
        put(run, data)
        with pytest.raises(UnsoundError):
            EventReader().read(run, found, 0, 99)
