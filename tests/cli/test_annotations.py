"""`flujoctl validate -o github`: problems as the runners of GitHub Actions read them."""

from __future__ import annotations

from pathlib import Path

from .conftest import Flujoctl

BAD = "name: bad\nsteps:\n  - {name: a, task: ecko}\n  - {name: b, task: noop, 50%: 1}\n"


def test_a_problem_is_an_annotation_of_its_line(folder: Path, flujoctl: Flujoctl) -> None:
    """One line each on stdout, with the exit code of the table."""
    (folder / "bad.yaml").write_text(BAD)

    ended = flujoctl("validate", "bad.yaml", "-o", "github")

    assert ended.code == 2
    first, second = ended.out.splitlines()
    assert first == "::error file=bad.yaml,line=3,col=21::there is no task `ecko`; did you mean `echo`?"
    assert second.startswith("::error file=bad.yaml,line=4,col=")
    assert "`50%25`" in second


def test_names_and_texts_are_escaped_as_the_runners_want_it(folder: Path, flujoctl: Flujoctl) -> None:
    """A colon or a comma in the name of a file would end it."""
    (folder / "a,b:c.yaml").write_text(BAD)

    ended = flujoctl("validate", "a,b:c.yaml", "absent.yaml", "-o", "github")

    assert ended.out.startswith("::error file=a%2Cb%3Ac.yaml,line=3,col=21::")
    assert "::error file=absent.yaml::" in ended.out


def test_warnings_are_annotations_too(folder: Path, flujoctl: Flujoctl) -> None:
    """They do not fail the job."""
    (folder / "late.yaml").write_text(
        "name: late\nsteps:\n  - {name: a, task: noop, on_error: continue}\n"
        "  - {name: b, task: echo, inputs: {message: '{{ steps.a.result }}'}}\n"
    )
    told = [line for line in flujoctl("validate", "late.yaml").err.splitlines() if line.startswith("warning: ")]

    ended = flujoctl("validate", "late.yaml", "-o", "github")

    assert ended.code == 0
    assert len(ended.out.splitlines()) == len(told) == 1
    assert all(line.startswith("::warning file=late.yaml,line=") for line in ended.out.splitlines())


def test_other_commands_have_no_annotations(flujoctl: Flujoctl) -> None:
    """And say what they have instead, wherever the option stands."""
    for words in (["list", "-o", "github"], ["-o", "github", "list"]):
        refused = flujoctl(*words)

        assert refused.code == 2
        assert "jsonl" in refused.err
