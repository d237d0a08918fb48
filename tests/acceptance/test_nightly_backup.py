"""The nightly job of the examples: it does its work, and each way to fail names its cause and what to type."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from acceptance.terminal import ROOT, Ended, Terminal, finish, lines_until

EXAMPLE = str(ROOT / "examples" / "nightly-backup.yaml")
OLD = [f"2020-01-0{day}T000000-{day}.tar.gz" for day in range(1, 7)]


@pytest.fixture
def job(terminal: Terminal) -> Terminal:
    """A terminal in a folder with something to pack."""
    (terminal.folder / "my data").mkdir()
    terminal.write("my data/letter's.txt", "dear reader\n")
    return terminal


def start(job: Terminal, *options: str) -> Ended:
    """Run the job to its end, or to where it waits."""
    return job.flujoctl("run", EXAMPLE, "--id", "r", "source=my data", "target=kept", *options)


def with_old_archives(job: Terminal) -> None:
    """Six archives of earlier years."""
    (job.folder / "kept").mkdir()
    for name in OLD:
        job.write(f"kept/{name}", "old")


def archives(job: Terminal) -> list[str]:
    """What is in the folder of archives, hidden files included."""
    return sorted(each.name for each in (job.folder / "kept").iterdir())


def test_a_night_without_trouble(job: Terminal) -> None:
    """The archive is there as a whole and holds what was packed; old ones have gone, and the report says so."""
    with_old_archives(job)

    ended = start(job, "keep=4")

    assert ended.code == 0, ended
    *kept, new = archives(job)
    assert kept == OLD[3:]
    listed = subprocess.run(["tar", "-tzf", job.folder / "kept" / new], capture_output=True, text=True, check=True)
    assert "./letter's.txt" in listed.stdout.splitlines()
    report = Path(job.inspect("r")["output"]["report"]).read_text(encoding="utf-8")
    assert report == f"{new} of {job.folder}/my data\n3 old archives were deleted\n"


def test_a_source_that_is_not_there(job: Terminal) -> None:
    """It is said at once and by its whole path; once it is there, the resume that is printed does the work."""
    (job.folder / "my data").rename(job.folder / "moved")

    failed = start(job)

    assert failed.code == 1
    assert f"there is no folder {job.folder}/my data" in failed.err
    assert "attempt 2" not in failed.err
    (job.folder / "moved").rename(job.folder / "my data")
    assert job.shell(failed.remedies[-1]).code == 0
    assert len(archives(job)) == 1


def test_a_target_that_is_no_folder(job: Terminal) -> None:
    """The message of the command that failed is there, and so is the way on."""
    job.write("kept", "a file")

    failed = start(job)

    assert failed.code == 1
    assert "kept" in failed.err
    assert "File exists" in failed.err
    (job.folder / "kept").unlink()
    assert job.shell(failed.remedies[-1]).code == 0


def test_somebody_says_no(job: Terminal) -> None:
    """Nothing is deleted, and the message has the command that asks again."""
    with_old_archives(job)
    waiting = start(job, "keep=1", "--no-wait")
    assert (waiting.code, waiting.remedies[0]) == (7, "flujoctl signal r approve")
    job.shell(f"{waiting.remedies[0]} false")

    failed = job.flujoctl("resume", "r")

    assert failed.code == 1
    assert "somebody said no; nothing was deleted" in failed.err
    assert archives(job) == OLD
    assert job.flujoctl("resume", "r", "--from-step", "approve", "--no-wait").code == 7
    job.flujoctl("signal", "r", "approve", "true")
    assert job.flujoctl("resume", "r").code == 0
    assert len(archives(job)) == 1


def test_nobody_says_anything(job: Terminal) -> None:
    """After its patience the run fails and says which signal it missed; a resume asks anew."""
    with_old_archives(job)

    failed = start(job, "keep=1", "patience=1s")

    assert failed.code == 1
    assert "no signal 'approve' came in time" in failed.err
    assert archives(job) == OLD
    assert failed.remedies[-1] == "flujoctl resume r"
    assert job.flujoctl("resume", "r", "patience=1h", "--no-wait").code == 7
    job.flujoctl("signal", "r", "approve", "true")
    assert job.flujoctl("resume", "r").code == 0


def test_an_archive_that_is_damaged_meanwhile(job: Terminal) -> None:
    """It is not kept; the message has the command that packs it again."""
    with_old_archives(job)
    start(job, "keep=1", "--no-wait")
    workspace = Path(job.inspect("r")["environment"]["workspace"])
    with (workspace / "archive.tar.gz").open("r+b") as archive:
        archive.write(b"damaged")
    job.flujoctl("signal", "r", "approve", "true")

    failed = job.flujoctl("resume", "r")

    assert failed.code == 1
    assert "the archive is damaged; pack it again: flujoctl resume r --from-step pack" in failed.err
    assert archives(job) == OLD
    assert job.flujoctl("resume", "r", "--from-step", "pack", "--no-wait").code == 7
    job.flujoctl("signal", "r", "approve", "true")
    assert job.flujoctl("resume", "r").code == 0


def test_a_parameter_that_makes_no_sense(job: Terminal) -> None:
    """Nothing begins."""
    refused = start(job, "keep=0")

    assert refused.code == 2
    assert "keep" in refused.err
    assert "must be at least 1, not 0" in refused.err
    assert job.flujoctl("inspect", "r").code == 3


def test_a_cancel_leaves_nothing_half_made(job: Terminal) -> None:
    """What the copy had begun is taken away before the run ends."""
    with_old_archives(job)
    running = job.start("run", EXAMPLE, "--id", "r", "source=my data", "target=kept", "keep=1")
    lines_until(running, "waiting for the signal")
    job.write("kept/.partial-r", "half")

    assert job.flujoctl("cancel", "r").code == 0

    assert finish(running).code == 8
    assert archives(job) == OLD
