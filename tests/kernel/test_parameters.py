"""The keywords of a call and the value they become are declared side by side and cannot drift."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

import pytest

from flujo.kernel.api import ResumeOptions, Resumption, Selection, SelectionOptions
from flujo.kernel.errors import InvalidDurationError, InvalidNameError, InvalidValueError


@pytest.mark.parametrize(("options", "value"), [(ResumeOptions, Resumption), (SelectionOptions, Selection)])
def test_the_keywords_of_a_call_are_the_fields_of_its_value(options: Any, value: Any) -> None:
    assert list(options.__annotations__) == [field.name for field in fields(value)]


@pytest.mark.parametrize(
    ("selection", "error"),
    [
        ({}, InvalidNameError),
        ({"statuses": ["running"]}, InvalidNameError),
        ({"statuses": ["finished"]}, InvalidNameError),
        ({"keep_last": 0}, InvalidNameError),
        ({"older_than_seconds": -1}, InvalidDurationError),
    ],
)
def test_a_selection_that_says_nothing_or_too_much_is_refused(selection: Any, error: type[Exception]) -> None:
    with pytest.raises(error):
        Selection(**selection)


def test_a_resumption_refuses_text_that_utf_8_cannot_hold() -> None:
    with pytest.raises(InvalidValueError):
        Resumption(by="\ud800")
