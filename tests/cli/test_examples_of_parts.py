"""The examples for builds that fan out, for flows and for imports, run from the command line on success and failure."""

from __future__ import annotations

import json
import re
import tarfile
from pathlib import Path

import pytest

from cli.conftest import Ended, Flujoctl

EXAMPLES = Path(__file__).parents[2] / "examples"

TEST = """\
import unittest

class Test(unittest.TestCase):
    def test_x(self):
        import a
        self.assertEqual(a.x, 1)
"""


@pytest.fixture
def project(folder: Path) -> Path:
    """A project whose test passes."""
    (folder / "my project" / "tests").mkdir(parents=True)
    (folder / "my project" / "a.py").write_text("x = 1\n")
    (folder / "my project" / "tests" / "__init__.py").touch()
    (folder / "my project" / "tests" / "test_a.py").write_text(TEST)
    return folder / "my project"


@pytest.fixture
def site(folder: Path) -> Path:
    """A folder with two versions to release."""
    (folder / "my site").mkdir()
    (folder / "my site" / "CHANGES").write_text("1.4\n1.3\n")
    return folder / "my site"


def build(flujoctl: Flujoctl, run: str) -> Ended:
    """The build of the project."""
    return flujoctl("run", str(EXAMPLES / "fan-out-build.yaml"), "source=my project", "target=my dist", "--id", run)


def report_of(folder: Path, run: str) -> list[str]:
    """The report of a build."""
    return (folder / ".flujo" / "workspaces" / run / "report.txt").read_text().splitlines()


def test_a_build_is_published_when_all_of_it_went_well(folder: Path, project: Path, flujoctl: Flujoctl) -> None:
    """As an archive with its checksum."""
    ended = build(flujoctl, "r")

    assert ended.code == 0, ended
    with tarfile.open(folder / "my dist" / "project.tar.gz") as archive:
        assert "./a.py" in archive.getnames()
    assert report_of(folder, "r") == ["compile: completed", "test: completed", "publish: completed", ""]


def test_a_failed_test_leaves_the_rest_of_a_build_alone(folder: Path, project: Path, flujoctl: Flujoctl) -> None:
    """All of it is reported, nothing is published, and once the source is mended a resume builds anew."""
    (project / "a.py").write_text("x = 2\n")

    failed = build(flujoctl, "r")
    reported = report_of(folder, "r")
    published = (folder / "my dist").exists()
    # Of another length: Python takes bytecode for that of a source of the same second and size.
    (project / "a.py").write_text("x = 1  # mended\n")
    resumed = flujoctl("resume", "r", "--from-step", "copy")

    assert failed.code == 1
    assert reported[:3] == ["compile: completed", "test: failed", "publish: skipped"]
    assert "AssertionError: 2 != 1" in "\n".join(reported)
    assert not published
    assert resumed.code == 0, resumed
    assert (folder / "my dist" / "SHA256SUMS").exists()


def test_a_build_of_nothing_says_so(folder: Path, flujoctl: Flujoctl) -> None:
    """Before anything is made of it."""
    ended = build(flujoctl, "r")

    assert ended.code == 1
    assert f"there is no folder {folder}/my project" in ended.err


def release(flujoctl: Flujoctl, version: str, *options: str) -> Ended:
    """A flow of the release."""
    file = str(EXAMPLES / "release-flows.yaml")
    return flujoctl("run", file, "source=my site", "target=my www", f"version={version}", *options)


def test_a_release_is_checked_shipped_and_taken_back(folder: Path, site: Path, flujoctl: Flujoctl) -> None:
    """Each by its flow; the check, which is the default, publishes nothing."""
    checked = release(flujoctl, "1.3")
    published = (folder / "my www").exists()
    shipped = [release(flujoctl, version, "--flow", "ship").code for version in ("1.3", "1.4")]
    back = release(flujoctl, "1.3", "--flow", "go back")

    assert (checked.code, published, shipped, back.code) == (0, False, [0, 0], 0)
    assert (folder / "my www" / "current").read_text() == "1.3\n"
    assert (folder / "my www" / "news.txt").read_text().splitlines() == [
        "1.3 is current, with 1 files",
        "1.4 is current, with 1 files",
        "1.3 is current",
    ]


def test_a_release_that_must_not_be_is_refused(folder: Path, site: Path, flujoctl: Flujoctl) -> None:
    """One that is not in CHANGES, one that is there already, one that never was."""
    release(flujoctl, "1.4", "--flow", "ship")

    unknown, again = release(flujoctl, "2.0"), release(flujoctl, "1.4", "--flow", "ship")
    never = release(flujoctl, "1.3", "--flow", "go back")

    assert [unknown.code, again.code, never.code] == [1, 1, 1]
    assert "CHANGES has no line 2.0" in unknown.err
    assert "1.4 is published already" in again.err
    assert "there is no version 1.3 in" in never.err


def test_an_imported_step_looks_at_the_folders_first(folder: Path, flujoctl: Flujoctl) -> None:
    """The workflow does its own work then."""
    (folder / "texts").mkdir()
    (folder / "texts" / "a.txt").write_text("one two two")
    file = str(EXAMPLES / "count-words.yaml")

    counted = flujoctl("run", file, "source=texts", "target=counts", "-o", "json")
    refused = flujoctl("run", file, "source=nothing", "target=counts")

    assert json.loads(counted.out)["output"] == {"texts": 1, "written": True}
    assert json.loads((folder / "counts" / "words.json").read_text())["top"] == [["two", 2], ["one", 1]]
    assert refused.code == 1
    assert re.search(r"failed in step 'prepare': .*there is no folder .*/nothing", refused.err)
