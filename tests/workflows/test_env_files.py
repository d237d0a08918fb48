"""Files of environment variables: what a line means, and what is refused."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from flujo.workflows.env_files import MAX_BYTES, EnvFileError, read_small, read_variables


@pytest.mark.parametrize(
    ("line", "value"),
    [
        ("A=b", "b"),
        ("  export  A = b c  ", "b c"),
        ("A=", ""),
        ("A=b # c", "b"),
        ("A=# c", ""),
        ("A=b#c", "b#c"),
        ('A="b # c" # d', "b # c"),
        ("A='b \"c\" $D'", 'b "c" $D'),
        (r'A="b\n\"c\"\t\\"', 'b\n"c"\t\\'),
        ("A=$HOME", "$HOME"),
        ("A=b=c", "b=c"),
        ("A=b\r", "b"),
        ("A=x\nA=y", "y"),
    ],
)
def test_a_line_gives_a_variable_its_value(line: str, value: str) -> None:
    """As it is written, without quotes and comments; the last line of a name counts."""
    assert read_variables(f"# first\n\n{line}\n") == {"A": value}


@pytest.mark.parametrize("line", ["A", "2A=b", "A-B=c", "=b", 'A="b', "A='b", "A='b'c", "A=\0"])
def test_a_line_that_says_nothing_is_refused_by_its_number(line: str) -> None:
    """So that it can be found."""
    with pytest.raises(EnvFileError, match=r"^line 2: "):
        read_variables(f"X=1\n{line}\n")


def test_only_small_files_of_text_are_read(tmp_path: Path) -> None:
    """Nothing that is endless, or waits for a writer."""
    (tmp_path / "large").write_bytes(b"#" * (MAX_BYTES + 1))
    (tmp_path / "binary").write_bytes(b"\xff")
    os.mkfifo(tmp_path / "pipe")

    for name, told in (
        ("large", "larger than 64 KiB"),
        ("binary", "not UTF-8"),
        ("pipe", "not a file"),
        (".", "not a"),
    ):
        with pytest.raises(ValueError, match=told):
            read_small(str(tmp_path / name))
