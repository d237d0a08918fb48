"""A log that is too long is made shorter: each attempt keeps a beginning and an end, and every position stays."""

from __future__ import annotations

import fcntl
import os
import random
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from flujo.kernel.errors import InvalidNameError
from flujo.kernel.state import WorkflowState
from flujo.kernel.store import log_compaction
from flujo.kernel.store.log_compaction import (
    LEAST,
    LONGEST_HEADER,
    Mark,
    compact_log,
    compacted_name,
    header_in,
    left_out,
    mark_in,
    share_of_each,
)
from flujo.kernel.store.run_logs import LogChoice, LogLine, LogPart, line_start, parse, read_log

RUN = WorkflowState(run_id="r", uid="u")


def line(step: str, attempt: int, text: str, at: int | None = 7) -> bytes:
    return line_start(step, attempt, at) + text.encode() + b"\n"


def read(log: Path, offset: int = 0) -> LogPart:
    return read_log(RUN, log, LogChoice(offset))


def texts(part: LogPart, step: str | None = None, attempt: int | None = None) -> list[str]:
    return [each.text for each in part.lines if step in (None, each.step) and attempt in (None, each.attempt)]


@pytest.mark.parametrize(
    ("sizes", "room", "share"),
    [
        ([], 10_000, LEAST),
        ([10, 20_000], 30_000, 20_000),
        ([20_000, 20_000], 20_000, 10_000),
        ([100, 20_000, 30_000], 20_100, 10_000),
        ([20_000] * 1000, 20_000, LEAST),
    ],
)
def test_what_short_attempts_do_not_need_goes_to_the_others(sizes: list[int], room: int, share: int) -> None:
    """However many there are, each keeps a least."""
    assert share_of_each(sizes, room) == share


@pytest.mark.parametrize(
    ("text", "mark"),
    [
        (left_out(48, b"a b[x.y].2", 7), Mark(7, 48, "a b[x.y]", 2)),
        (left_out(48, b"a.2"), Mark(None, 48, "a", 2)),
        (left_out(0, b"", 7), Mark(7, 0, "", 0)),
        (b"~x\n", None),
        (line("s", 1, "~7"), None),
    ],
)
def test_a_mark_is_a_line_that_no_step_can_print(text: bytes, mark: Mark | None) -> None:
    """What steps print begins with their names."""
    assert mark_in(text) == mark


def test_every_attempt_keeps_its_beginning_and_its_end(tmp_path: Path) -> None:
    """One that prints without end takes nothing from those before and after it; a mark tells what is missing."""
    log = tmp_path / "r.log"
    noise = [f"line {number}" for number in range(5000)]
    log.write_bytes(
        line("before", 1, "only this")
        + b"".join(line("noisy", 1, text) for text in noise)
        + b"".join(line("noisy", 2, text) for text in noise)
        + line("after", 1, "and this")
    )
    size = log.stat().st_size

    assert compact_log(log, 20_000)

    part = read(log)
    assert 19_000 < log.stat().st_size < 21_000
    assert (texts(part, "before"), texts(part, "after")) == (["only this"], ["and this"])
    for attempt in (1, 2):
        kept = texts(part, "noisy", attempt)
        (gap,) = [number for number, text in enumerate(kept) if "left out" in text]
        last = len(kept) - gap - 1
        assert kept[:gap] == noise[:gap]
        assert kept[gap + 1 :] == noise[-last:]
        assert gap > 70 < last
        missing = sum(len(line("noisy", 1, text)) for text in noise[gap:-last])
        assert kept[gap] == f"[... {missing} bytes left out ...]"
    assert part.next_offset == size


def test_a_thousand_noisy_attempts_keep_something_each(tmp_path: Path) -> None:
    """A least, of which the bound of the log is a multiple then."""
    log = tmp_path / "r.log"
    log.write_bytes(b"".join(line("s", 1 + at // 100, f"{at}") for at in range(100_000)))

    assert compact_log(log, 100_000)

    kept: dict[int | None, list[str]] = {}
    for each in read(log).lines:
        kept.setdefault(each.attempt, []).append(each.text)
    ends = {attempt: (lines[0], lines[-1]) for attempt, lines in kept.items()}
    assert ends == {at: (f"{(at - 1) * 100}", f"{at * 100 - 1}") for at in range(1, 1001)}
    assert log.stat().st_size < 1000 * (LEAST + 100)


def test_the_earliest_of_too_many_attempts_are_given_up_and_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run that never ends has no bound otherwise. The count goes on from one time to the next."""
    monkeypatch.setattr(log_compaction, "MOST_ATTEMPTS", 3)
    log = tmp_path / "r.log"
    log.write_bytes(b"".join(line("s", at, "x") for at in range(1, 6)))
    compact_log(log, 1000)
    with open(log, "ab") as file:
        file.write(line("s", 6, "x"))
    compact_log(log, 1000)

    first, *rest = read(log).lines
    assert first == LogLine(None, None, "[... what 3 earlier attempts have printed is left out ...]")
    assert [each.attempt for each in rest] == [4, 5, 6]


@pytest.mark.parametrize("text", ["x" * 50_000, "ä" * 25_000, "\U0001f600" * 12_500])
def test_a_line_that_is_longer_than_all_that_is_kept_keeps_both_its_ends(text: str, tmp_path: Path) -> None:
    """Whether it is the only one of its attempt, the first or the last; no character is cut in two."""
    log = tmp_path / "r.log"
    log.write_bytes(
        line("only", 1, f"[{text}]")
        + line("first", 1, f"[{text}]")
        + line("first", 1, "end")
        + line("last", 1, "begin")
        + line("last", 1, f"[{text}]")
    )

    assert compact_log(log, 10_000)

    part = read(log)
    only, first, last = (texts(part, step) for step in ("only", "first", "last"))
    assert (only[0][0], only[0][-1], first[0][0], first[-1], last[0], last[-1][-1]) == (
        "[",
        "]",
        "[",
        "end",
        "begin",
        "]",
    )
    assert log.stat().st_size < 20_000
    assert "\ufffd" not in log.read_text()


def test_a_line_without_an_end_stays_for_whoever_writes_it(tmp_path: Path) -> None:
    """Of a writer that was killed, or of one that writes it just now."""
    log = tmp_path / "r.log"
    log.write_bytes(b"".join(line("s", 1, str(number)) for number in range(500)) + b"s.1| half")

    compact_log(log, 2000)

    assert log.read_bytes().endswith(b"\ns.1| half")
    assert texts(read(log))[-1] == "499"


def test_a_log_of_an_earlier_release_is_made_shorter_as_well(tmp_path: Path) -> None:
    """Its lines have no time, and the last one may say that it is full."""
    log = tmp_path / "r.log"
    log.write_bytes(
        b"".join(line("s", 1, str(number), None) for number in range(500))
        + b"s.1| cut o\nthe log is full (10 MiB); nothing more is written\n"
        + b"".join(line("s", 2, str(number)) for number in range(500))
    )

    compact_log(log, 4000)

    part = read(log)
    assert (texts(part, "s", 1)[0], texts(part, "s", 1)[-1]) == ("0", "cut o")
    assert (texts(part, "s", 2)[0], texts(part, "s", 2)[-1]) == ("0", "499")
    assert texts(part)[texts(part).index("cut o") + 1] == "the log is full (10 MiB); nothing more is written"


def scenario(seed: int) -> Iterator[bytes]:
    """Yield what steps print at a time: at most 3 KB, parallel ones by turns, lines of any length."""
    chance = random.Random(seed)
    for number in range(chance.randrange(20, 120)):
        step = chance.choice(["a", "b[1]", "b[x. y]", "c/d"])
        count = chance.choice([1, 1, 2, 30])
        yield b"".join(
            line(step, 1 + number // 40, f"{number}.{at} " + "x" * chance.choice([0, 5, 100])) for at in range(count)
        )


@pytest.mark.parametrize("seed", range(12))
def test_whoever_follows_goes_on_where_he_was(seed: int, tmp_path: Path) -> None:
    """Reading on from any position that was ever told brings the lines behind it that are left, once, in their order,
    however often the log was made shorter since."""
    log = tmp_path / "r.log"
    lines: list[LogLine] = []
    positions = {0: 0}
    for number, printed in enumerate(scenario(seed)):
        with open(log, "ab") as file:
            file.write(printed)
        new = read(log, max(positions))
        lines += new.lines
        positions[new.next_offset] = len(lines)
        if number % 7 == 6:
            compact_log(log, 6000)
    for offset, count in positions.items():
        part = read(log, offset)
        left = [each for each in part.lines if "left out" not in each.text]
        known = {each: place for place, each in enumerate(lines)}
        places = [known[each] for each in left]
        assert places == sorted(set(places))
        assert all(place >= count for place in places)
        assert set(left) == {each for each in read(log).lines if known.get(each, -1) >= count}
        assert part.next_offset == max(positions)
    with pytest.raises(InvalidNameError, match="the next_offset of an earlier answer"):
        read(log, max(positions) + 1)


@pytest.mark.parametrize("seed", range(8))
def test_what_is_missing_is_counted_to_the_byte(seed: int, tmp_path: Path) -> None:
    """However often the log was made shorter: what an attempt has left and what its marks say is what it had."""
    log = tmp_path / "r.log"
    printed: dict[tuple[str | None, int | None], int] = {}
    for number, data in enumerate(scenario(seed)):
        with open(log, "ab") as file:
            file.write(data)
        for each in data.splitlines(keepends=True):
            found = parse(each[:-1])
            printed[found.step, found.attempt] = printed.get((found.step, found.attempt), 0) + len(each)
        if number % 5 == 4:
            compact_log(log, 8000)
    for found in read(log).lines:
        gap = found.text.removeprefix("[... ").removesuffix(" bytes left out ...]")
        size = len(line(found.step or "", found.attempt or 0, found.text))
        printed[found.step, found.attempt] -= int(gap) if gap != found.text else size
    assert set(printed.values()) == {0}


def test_what_another_process_has_appended_meanwhile_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that lost the run a moment ago has the old file open, and writes until it knows."""
    log = tmp_path / "r.log"
    log.write_bytes(b"".join(line("s", 1, str(number)) for number in range(500)))
    late = os.open(log, os.O_WRONLY | os.O_APPEND)
    replace = Path.replace

    def replaced(new: Path, old: Path) -> Path:
        os.write(late, line("s", 1, "late"))
        return replace(new, old)

    monkeypatch.setattr(Path, "replace", replaced)
    compact_log(log, 2000)
    os.close(late)

    assert texts(read(log))[-2:] == ["499", "late"]


def test_a_crash_leaves_the_old_log_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was left of the new one is in nobody's way."""
    log = tmp_path / "r.log"
    log.write_bytes(b"".join(line("s", 1, str(number)) for number in range(500)))
    before = log.read_bytes()
    (tmp_path / compacted_name("r.log")).write_bytes(b"half of")

    def fail(*_: object) -> Path:
        raise OSError("no room")

    with monkeypatch.context() as failing:
        failing.setattr(Path, "replace", fail)
        with pytest.raises(OSError, match="no room"):
            compact_log(log, 2000)

    assert log.read_bytes() == before
    assert os.listdir(tmp_path) == ["r.log"]
    assert compact_log(log, 2000)


def test_two_processes_never_make_the_same_log_shorter_at_once(tmp_path: Path) -> None:
    """The second one leaves it to the first."""
    log = tmp_path / "r.log"
    log.write_bytes(b"".join(line("s", 1, str(number)) for number in range(500)))
    with open(log, "rb") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        assert not compact_log(log, 2000)

    assert compact_log(log, 2000)


def test_nothing_is_made_of_what_is_no_log(tmp_path: Path) -> None:
    """A link would lead elsewhere, a pipe would be waited for; an empty file has nothing to leave out."""
    (tmp_path / "other").write_text("x\n" * 10_000)
    (tmp_path / "link").symlink_to("other")
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "empty").touch()

    with pytest.raises(OSError, match="link"):
        compact_log(tmp_path / "link", 10)
    assert not compact_log(tmp_path / "pipe", 10)
    assert not compact_log(tmp_path / "empty", 10)


def test_the_first_line_of_a_shorter_log_says_where_its_bytes_are(tmp_path: Path) -> None:
    """So that whoever follows it does not read what he has read before."""
    log = tmp_path / "r.log"
    log.write_bytes(b"".join(line("s", 1, str(number)) for number in range(500)))
    size = log.stat().st_size
    assert header_in(log.read_bytes()) is None

    compact_log(log, 2000)

    header = header_in(log.read_bytes()[:LONGEST_HEADER])
    assert header is not None
    assert (header.settled, header.position) == (log.stat().st_size, size)


def test_a_log_that_was_deleted_meanwhile_does_not_come_back(tmp_path: Path) -> None:
    """Its run has gone, and nothing would ever remove it."""
    log = tmp_path / "log"
    log.write_bytes(b"".join(b"s.1| line %d\n" % number for number in range(1000)))

    @contextmanager
    def deleted() -> Iterator[None]:
        log.unlink()
        yield

    assert not compact_log(log, 2000, deleted())
    assert os.listdir(tmp_path) == []


def test_what_is_written_until_the_old_log_is_replaced_is_in_the_new_one(tmp_path: Path) -> None:
    """Nobody is kept from writing while the shorter one is made."""
    log = tmp_path / "log"
    log.write_bytes(b"".join(b"s.1| line %d\n" % number for number in range(1000)))

    @contextmanager
    def written() -> Iterator[None]:
        with log.open("ab") as file:
            file.write(b"s.1| last\n")
        yield

    assert compact_log(log, 2000, written())
    assert log.read_bytes().endswith(b"s.1| last\n")
