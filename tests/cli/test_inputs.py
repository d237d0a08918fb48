"""Inputs, files of inputs, and labels as people type them."""

from __future__ import annotations

import io
import sys
from pathlib import Path

import click
import pytest

from flujo.cli.failures import SourceNotFoundError
from flujo.cli.inputs import parse_inputs, parse_labels


def test_text_and_json() -> None:
    """`=` takes the rest as it is, `:=` reads JSON."""
    given = ["day=2026-11-22", "empty=", "formula=a=b", "url=http://x:=y", "n:=3", 'tags:=["a", "b"]', "no:=null"]

    assert parse_inputs(given) == {
        "day": "2026-11-22",
        "empty": "",
        "formula": "a=b",
        "url": "http://x:=y",
        "n": 3,
        "tags": ["a", "b"],
        "no": None,
    }


@pytest.mark.parametrize("assignment", ["day", "=x", "1day=x", "n:=", "n:={", "n:=NaN", 'n:={"a": 1, "a": 2}'])
def test_what_is_no_input_is_refused(assignment: str) -> None:
    """With a usage error, which ends with 2."""
    with pytest.raises(click.UsageError):
        parse_inputs([assignment])


def test_an_input_given_twice_is_refused() -> None:
    """Neither of the two is the obvious one."""
    with pytest.raises(click.UsageError, match="twice"):
        parse_inputs(["a=1", "a=2"])


@pytest.mark.parametrize(
    ("name", "text"),
    [("p.yaml", "n: 3\nday: no\n"), ("p.json", '{"n": 3, "day": "no"}'), ("p.json", '\ufeff{"n": 3, "day": "no"}')],
)
def test_a_file_holds_inputs_that_the_command_line_overrides(tmp_path: Path, name: str, text: str) -> None:
    """YAML is read as strictly as a workflow is: `no` is a text. Either may begin with a byte order mark."""
    (tmp_path / name).write_text(text, encoding="utf-8")

    assert parse_inputs(["n:=4"], tmp_path / name) == {"n": 4, "day": "no"}


@pytest.mark.parametrize("text", ["n: 3\nday: no\n", ' {"n": 3, "day": "no"}'])
def test_inputs_may_come_through_a_pipe(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    """In YAML or in JSON; the file is then called `-`."""
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(text.encode())))

    assert parse_inputs(["n:=4"], Path("-")) == {"n": 4, "day": "no"}


def test_half_a_character_is_refused_with_what_is_wrong_with_it() -> None:
    """JSON can write one, and no text in UTF-8 can hold it."""
    with pytest.raises(click.UsageError, match=r'the value of .n. is not text: "\\ud800" is half a character'):
        parse_inputs(['n:=["\\ud800"]'])
    assert parse_inputs(['n:="\\ud83d\\ude00"']) == {"n": "😀"}


def test_a_file_that_holds_no_object_is_refused(tmp_path: Path) -> None:
    """A list has no names."""
    (tmp_path / "p.yaml").write_text("[1, 2]", encoding="utf-8")

    with pytest.raises(click.UsageError):
        parse_inputs([], tmp_path / "p.yaml")
    with pytest.raises(SourceNotFoundError):
        parse_inputs([], tmp_path / "absent.yaml")


def test_labels_are_texts() -> None:
    """Both sides of the first equals sign."""
    assert parse_labels(["team=a", "note=x=y"]) == {"team": "a", "note": "x=y"}
    with pytest.raises(click.UsageError):
        parse_labels(["team:=1"])
