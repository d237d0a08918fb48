"""YAML that is written means the same to readers of YAML 1.1 and of YAML 1.2."""

from __future__ import annotations

from typing import Any

import pytest
import yaml

from flujo.workflows.document_writer import quoting
from flujo.workflows.documents import Problems, read_document


@pytest.mark.parametrize(
    "text",
    ["25921e05", "695e0514", "12E3", "1.5e3", "-1e-3", "1e+21", ".5e1", "5.", "08", "0o14", "-0x1F", "1:30", "no", "~"],
)  # fmt: skip
@pytest.mark.parametrize("dumper", [yaml.SafeDumper, getattr(yaml, "CSafeDumper", yaml.SafeDumper)])
def test_a_text_that_is_a_number_to_some_reader_is_quoted(text: str, dumper: Any) -> None:
    """As a value and as a key."""
    written = yaml.dump({text: text}, Dumper=quoting(dumper))

    assert written == f"'{text}': '{text}'\n"


@pytest.mark.parametrize("value", [25921e05, 1e16, 1e-7, -0.5, 8, "e5", "12e", "1e5x", "v1.5", "0xg"])
def test_what_no_reader_mistakes_is_not_quoted(value: object) -> None:
    """Numbers stay numbers, and other texts stay as readable as they were."""
    written = yaml.dump([value], Dumper=quoting(yaml.SafeDumper))

    read = read_document(written, Problems("a.yaml"))
    assert read is not None
    assert read.plain() == yaml.safe_load(written) == [value]
    assert "'" not in written
