"""Filters that search texts and write instants, through the templates of a run."""

from __future__ import annotations

import time
from typing import Any

import pytest

from flujo.workflows import load_workflow_text
from flujo.workflows.templates import TemplateError, references, render
from workflows.test_docs import blocks


@pytest.mark.parametrize(
    ("template", "gives"),
    [
        ("{{ 'a-b' | b64 }}", "YS1i"),
        ("{{ 'a\\n\\n  \\n b\\n' | lines }}", ["a", " b"]),
        ("{{ 5 | lines }}", ["5"]),
        ("{{ 'job 17 done' | regex_search('[0-9]+') }}", "17"),
        ("{{ 'job 17' | regex_search('(job) ([0-9]+)', 2) }}", "17"),
        ("{{ 'job 17' | regex_search('(?P<n>[0-9]+)', 'n') }}", "17"),
        ("{{ 'job' | regex_search('[0-9]+') }}", None),
        ("{{ 'JOB' | regex_search('job', ignorecase=true) }}", "JOB"),
        ("{{ 'a\\nb' | regex_findall('^.', multiline=true) }}", ["a", "b"]),
        ("{{ 'a=1,b=2' | regex_findall('(.)=(.)') }}", [["a", "1"], ["b", "2"]]),
        ("{{ 'a1b22' | regex_replace('[0-9]+', '#') }}", "a#b#"),
        ("{{ 'a1b22' | regex_replace('[0-9]+', '#', 1) }}", "a#b22"),
        ("{{ 'ab' | regex_replace('(a)(b)', '\\\\2\\\\1') }}", "ba"),
        ("{{ '2026-11-22T02:15:00+02:00' | datetime('%d.%m.%Y %H:%M') }}", "22.11.2026 02:15"),
        ("{{ '2026-11-22' | strftime('%j') }}", "326"),
        ("{{ 0 | datetime }}", "1970-01-01T00:00:00+00:00"),
        ("{{ '2026-11-22T02:15:00Z' | datetime }}", "2026-11-22T02:15:00+00:00"),
        ("{{ 0 | datetime('100 %%') }}", "100 %"),
        ("{{ none_there | default('x') | regex_replace('x', 'y') }}", "y"),
    ],
)
async def test_a_filter_gives(template: str, gives: Any) -> None:
    """What it is there for."""
    assert await render(template, {}) == gives


@pytest.mark.parametrize(
    ("template", "told"),
    [
        ("{{ 'a' | regex_search('a', 3) }}", "'a' has no group 3"),
        ("{{ 'a' | regex_replace('a', '\\\\7') }}", "cannot replace what 'a' finds"),
        ("{{ 'a' | regex_search(p) }}", "'(' is not a regular expression: missing ), unterminated subpattern"),
        ("{{ 'a' | regex_search('a' * 2000) }}", "a regular expression has at most 1000 characters"),
        ("{{ 'soon' | datetime }}", "'soon' is not an instant such as"),
        ("{{ 1e300 | datetime }}", "is not an instant such as"),
        ("{{ true | datetime }}", "'true' is not an instant such as"),
        ("{{ 0 | datetime('%99999999d') }}", "is not a format of instants"),
        ("{{ 0 | datetime('%') }}", "is not a format of instants"),
        ("{{ ('a' * 1000) | regex_replace('', 'b' * 2000) }}", "would be larger than 1024 KiB"),
    ],
)
async def test_what_makes_no_sense_is_an_error_of_the_template(template: str, told: str) -> None:
    """Which says what was wrong."""
    with pytest.raises(TemplateError) as raised:
        await render(template, {"p": "("})

    assert told in str(raised.value)


@pytest.mark.parametrize(
    ("template", "told"),
    [
        ("{{ 'a' | regex_search('(') }}", "'(' is not a regular expression"),
        ("{{ 'a' | regexsearch('a') }}", "there is no filter `regexsearch`; did you mean `regex_search`?"),
        ("{{ 'a' | date_format('%Y') }}", "there is no filter `date_format`; did you mean `datetime`?"),
    ],
)
def test_what_can_be_told_beforehand_is(template: str, told: str) -> None:
    """When the definition is read."""
    with pytest.raises(TemplateError) as raised:
        references(template)

    assert told in str(raised.value)


async def test_an_expression_that_takes_for_ever_is_given_up() -> None:
    """When its processor time is over, in a process of its own; the next one is evaluated as ever."""
    evil = "{{ ('a' * 60 ~ 'b') | regex_search('^(a+)+$') }}"

    before = time.process_time()
    with pytest.raises(TemplateError, match=r"it needs more than 0\.7 s of processor time"):
        await render(evil, {})
    spent = time.process_time() - before

    assert spent < 0.5
    assert await render("{{ 'ab' | regex_search('b') }}", {}) == "b"


async def test_the_page_says_what_the_filters_give() -> None:
    """Each comment of the example is what comes out."""
    (text,) = [text for _, text in blocks() if text.startswith("name: filters\n")]
    flow = load_workflow_text(text, "filters.yaml")
    import yaml

    message = yaml.safe_load(text)["steps"][1]["inputs"]["message"]
    seen = {"steps": {"text": {"result": "v1.20\n\nv1.3\n"}}}

    assert flow.name == "filters"
    assert await render(message, seen) == {
        "lines": ["v1.20", "v1.3"],
        "first": "20",
        "all": ["20", "3"],
        "changed": "b-a",
        "day": "22.11.2026",
        "instant": "2023-11-14T22:13:20+00:00",
    }
