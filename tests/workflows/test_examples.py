"""The examples run as they are, on the real kernel."""

from __future__ import annotations

import subprocess
import tarfile
from pathlib import Path
from typing import Any

import pytest

from flujo.backends.memory import InMemoryBackend
from flujo.kernel import Kernel
from flujo.kernel.errors import RunFailed
from flujo.workflows import load_workflow

EXAMPLES = Path(__file__).parents[2] / "examples"


async def run(example: str, folder: Path, /, **inputs: Any) -> Any:
    workflow = load_workflow(EXAMPLES / example, workspace=folder / "workspace")
    async with Kernel(InMemoryBackend(), workflows=[workflow]) as kernel:
        return await kernel.run(workflow, inputs)


def report_of(output: dict[str, Any]) -> str:
    return Path(output["report"]).read_text()


def git(folder: Path, *arguments: str, author: str = "Ada", at: str = "2024-01-15T12:00:00Z") -> None:
    identity = {"NAME": author, "EMAIL": "a@example.org", "DATE": at}
    env = {f"GIT_{who}_{what}": value for who in ("AUTHOR", "COMMITTER") for what, value in identity.items()}
    subprocess.run(
        ["git", "-C", str(folder), *arguments],
        env={"PATH": "/usr/bin:/bin:/usr/local/bin", "HOME": str(folder), "GIT_CONFIG_NOSYSTEM": "1", **env},
        check=True,
        capture_output=True,
    )


@pytest.fixture
def repo(tmp_path: Path) -> Path:
    """An empty repository, which is also where the run starts."""
    folder = tmp_path / "my repo"
    folder.mkdir()
    git(folder, "init", "--quiet", "--initial-branch=main")
    return folder


async def test_hello_greets(tmp_path: Path) -> None:
    """With its default, and with a parameter."""
    assert await run("hello.yaml", tmp_path) == {"greeting": "Hello world!"}
    assert await run("hello.yaml", tmp_path, whom="Ada") == {"greeting": "Hello Ada!"}


async def test_five_steps_append_five_lines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """To a file seen from where the run was started, whatever its name."""
    monkeypatch.chdir(tmp_path)

    await run("five-steps.yaml", tmp_path, file="my 'lines'.txt")

    assert (tmp_path / "my 'lines'.txt").read_text() == "one\ntwo\nthree\nfour\nfive\n"


async def test_the_report_reads_a_history_with_merges(
    repo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Authors, months and folders are counted, names of any script included."""
    (repo / "src").mkdir()
    (repo / "src" / "a").write_text("1")
    (repo / 'dö|c "x"').mkdir()
    (repo / 'dö|c "x"' / "b").write_text("1")
    git(repo, "add", ".")
    git(repo, "commit", "-m", "first", author="Žofie | 李")
    git(repo, "checkout", "-b", "side")
    (repo / "src" / "a").write_text("2")
    git(repo, "commit", "-am", "side", at="2024-03-01T12:00:00Z")
    git(repo, "checkout", "main")
    (repo / "top").write_text("1")
    git(repo, "add", ".")
    git(repo, "commit", "-m", "with\n\na body", at="2024-03-02T12:00:00Z")
    git(repo, "merge", "--no-edit", "side", at="2024-03-03T12:00:00Z")
    monkeypatch.chdir(repo / "src")

    output = await run("repo-report.yaml", tmp_path)

    report = report_of(output)
    assert output == {"report": str(tmp_path / "workspace" / "report.md"), "commits": 4, "authors": 2}
    assert report.startswith("# my repo\n\n4 commits, 1 of them merges,\nby 2 author(s), 2024-01 to 2024-03.\n")
    assert "| Ada | 3 | 75.0 % | 2 |\n| Žofie \\| 李 | 1 | 25.0 % | 2 |\n" in report
    assert f"2024-01       1  {'█' * 14}\n2024-02       0  \n2024-03       3  {'█' * 40}\n" in report
    assert "| src/ | 2 |\n" in report
    assert "| (top level) | 1 |\n" in report


async def test_the_report_reads_a_single_commit(repo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Even one that touches no file."""
    git(repo, "commit", "--allow-empty", "-m", "only")
    monkeypatch.chdir(tmp_path)

    output = await run("repo-report.yaml", tmp_path, repo="my repo")

    assert (output["commits"], output["authors"]) == (1, 1)
    assert "| (no files) | 0 |" in report_of(output)


async def test_the_report_says_what_is_not_there(repo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No commits, no repository, no folder: each with its own message."""
    (tmp_path / "plain").mkdir()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path))

    for folder, message in [
        ("my repo", f"{repo} has no commits yet"),
        ("plain", f"{tmp_path / 'plain'} is not in a git repository"),
        ("gone", f"there is no folder gone in {tmp_path}"),
    ]:
        with pytest.raises(RunFailed) as raised:
            await run("repo-report.yaml", tmp_path, repo=folder)
        assert message in str(raised.value)
        assert raised.value.step == "check"


@pytest.fixture
def pages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two pages that link to each other; the run starts beside them."""
    folder = tmp_path / "my pages"
    (folder / "more").mkdir(parents=True)
    (folder / "index.md").write_text("# Index\n\nsee [more](more/other.md#top) and [the web](https://example.org)\n")
    (folder / "more" / "other.md").write_text("back to [the index](../index.md)\n")
    monkeypatch.chdir(tmp_path)
    return folder


async def test_the_graph_packs_pages_whose_links_are_right(pages: Path, tmp_path: Path) -> None:
    """Archive and report are all that is in the workspace: what was made on the way is gone."""
    output = await run("graph.yaml", tmp_path, folder="my pages")

    assert output == {"packed": True, "report": str(tmp_path / "workspace" / "report.md")}
    assert report_of(output) == "2 pages, 11 words.\nLinks: all of them lead somewhere.\n"
    with tarfile.open(tmp_path / "workspace" / "pages.tar.gz") as archive:
        assert {"./index.md", "./more/other.md"} <= set(archive.getnames())
    assert {path.name for path in (tmp_path / "workspace").iterdir()} == {"pages.tar.gz", "report.md"}


async def test_the_graph_takes_another_way_when_a_link_is_broken(pages: Path, tmp_path: Path) -> None:
    """The archive is left out, and the report says why."""
    (pages / "more" / "other.md").unlink()

    output = await run("graph.yaml", tmp_path, folder="my pages")

    assert output["packed"] is False
    assert "Links: not packed: ./index.md links to more/other.md" in report_of(output)
    assert {path.name for path in (tmp_path / "workspace").iterdir()} == {"report.md"}


async def test_the_graph_cleans_up_after_a_failure(pages: Path, tmp_path: Path) -> None:
    """The run fails with the step that failed, not with anything that came later."""
    (tmp_path / "workspace").mkdir()
    (tmp_path / "workspace" / "report.md").mkdir()

    with pytest.raises(RunFailed) as raised:
        await run("graph.yaml", tmp_path, folder="my pages")

    assert raised.value.step == "report"
    assert {path.name for path in (tmp_path / "workspace").iterdir()} == {"pages.tar.gz", "report.md"}
