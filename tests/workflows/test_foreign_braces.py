"""What is said of braces that are no template here, and of what begins and does not end: where that is, and what to
write."""

from __future__ import annotations

import json
import time

import pytest

from flujo.kernel.errors import DefinitionError
from flujo.workflows.definition_reader import read_definition
from flujo.workflows.foreign_braces import MAX_SEARCHED, go_mark, told_of_blocks, told_of_braces
from flujo.workflows.registry import Tasks

GO = "is of a Go template, and none is rendered here; braces that are meant for the command itself go between {% raw %}"


def problems_of(command: str, params: str = "{}") -> list[str]:
    """What is said of a command, each with its line and column in the text of the command."""
    lines = "".join(f"      {line}\n" for line in command.split("\n"))
    text = f"name: x\nparams: {params}\nsteps:\n- name: s\n  task: shell\n  inputs:\n    command: |\n{lines}"
    try:
        read_definition(text, "f", Tasks())
    except DefinitionError as error:
        return [f"{each.line - 7}:{(each.column or 0) - 6}: {each.message}" for each in error.problems]
    return []


@pytest.mark.parametrize(
    ("before", "braces", "after"),
    [
        ("docker ps --format '", "{{.Names}}", "'"),
        ("docker ps --format '", "{{json .}}", "'"),
        ("docker inspect -f '", "{{ range .Mounts }}", "{{ .Source }}{{ end }}' x"),
        ("docker inspect -f '", "{{range $k, $v := .State}}", "{{$k}}{{end}}' x"),
        ("docker inspect -f '", "{{if .State.Running}}", "yes{{else}}no{{end}}' x"),
        ("docker inspect -f '", '{{ index .Config.Labels "a" }}', "' x"),
        ("docker inspect -f '", "{{ range .Mounts }}", "' x"),
        ("kubectl get x -o go-template='", '{{printf "%s" .x}}', "'"),
        ("kubectl get x -o go-template='", "{{len .items}}", "'"),
        ("kubectl get x -o go-template='", "{{/* none */}}", "'"),
        ("kubectl get x -o go-template='", "{{- with .b -}}", "x{{ end }}'"),
        ("helm template '", '{{ define "a" }}', '{{ template "a" . }}{{ end }}\''),
        ("echo {{ day }} '", "{{ not .Done }}", "'"),
    ],
)
def test_a_go_template_is_named_for_what_it_is(before: str, braces: str, after: str) -> None:
    """Once, where it begins."""
    found = problems_of(f"set -e\n{before}{braces}{after}", "{day: x}")

    assert len(found) == 1
    assert found[0].startswith(f"2:{len(before) + 1}: {braces} {GO}")


@pytest.mark.parametrize(
    ("command", "params"),
    [
        ("echo {{ end }} {{ len }} {{ json }}", "{end: x, len: 1, json: y}"),
        ("{% for i in range(3) %}echo {{ i }}\n{% endfor %}", "{}"),
        ("echo {{ not day }} {{ (day, 1) | length }}", "{day: x}"),
        ("echo {% raw %}{{ range .Items }}{{ end }}{% endraw %}", "{}"),
        ("echo ${#list[@]} ${list[0]}", "{}"),
    ],
)
def test_what_is_a_template_here_is_none_of_gos(command: str, params: str) -> None:
    """Parameters may be called as Go calls its words."""
    assert problems_of(command, params) == []


@pytest.mark.parametrize(
    ("command", "told"),
    [
        ("a\n{% if day %}\nb", "2:1: {% if day %} is not closed; write {% endif %} where it ends"),
        ("a {% for i in day %}{%- if i %}x{% endif %}", "1:3: {% for i in day %} is not closed; write {% endfor %}"),
        ("a {% if day %}{% if 1 %}\n{% else %}b{% endif %}", "1:3: {% if day %} is not closed; write {% endif %}"),
        ("{% for i in day %}\n  {% if i %}\n{% endfor %}", "3:1: {% endfor %} stands where {% if i %} is not closed; "),
        ("a\n  {% endif %}", "2:3: {% endif %} closes nothing: no {% if … %} before it is open"),
        ("a {% set x %}\na", "1:3: {% set x %} is not closed; write {% endset %} where it ends"),
        ("{% set x = 1 %}\n{% macro m() %}", "2:1: {% macro m() %} is not closed; write {% endmacro %} where it ends"),
        ("echo\n {% raw %} {{ x }}", "2:2: {% raw %} is not closed; write {% endraw %} behind"),
        ("{% raw %}{% if %}{% endraw %}\n{% if day %}", "2:1: {% if day %} is not closed; write {% endif %}"),
        ("echo {{ day\necho {{ day }}", "1:6: `{{ day` is not closed; write `}}` where it ends"),
        ("echo\n {{ day", "2:2: `{{ day` is not closed; write `}}` where it ends"),
    ],
)
def test_what_begins_and_does_not_end_is_told_where_it_begins(command: str, told: str) -> None:
    """And not where the text is over, or where the next one was met."""
    found = problems_of(command, "{day: x}")

    assert len(found) == 1
    assert found[0].startswith(told)


@pytest.mark.parametrize("part", ["{% raw %}", "{% if a", "{% raw", "{{ a", "{{ range .x", "{% if %}", "{{ ", "{%-"])
def test_a_look_at_what_does_not_end_takes_no_time_of_its_own(part: str) -> None:
    """However often it begins: what is read once is not gone through again for each beginning."""
    source = part * (MAX_SEARCHED // len(part))
    began = time.process_time()
    for look in (go_mark, told_of_blocks, told_of_braces):
        look(source)

    assert time.process_time() - began < 0.1  # 2.5 s when each beginning was followed to the end


@pytest.mark.parametrize(
    ("names", "proposed"),
    [
        (["build it", "build-it"], ["build-it-2"]),
        (["build it", "build it!", "build-it-2"], ["build-it", "build-it-3"]),
        (["étape", "etape"], ["etape-2"]),
        (["Größe prüfen", "smørrebrød", "Łódź"], ["Grosse-prufen", "smorrebrod", "Lodz"]),
        (["编译", "сборка", "テスト"], ["step-1", "step-2", "step-3"]),
        (["step-2", "编译"], ["step-2-2"]),
        (["сборка build", "2 x", "."], ["build", "step-2-x", "step-3"]),
        (["1. fetch", "v1.2 - load"], ["step-1-fetch", "v1.2-load"]),
    ],
)
def test_a_name_is_proposed_that_no_other_step_has(names: list[str], proposed: list[str]) -> None:
    """Whatever letters the name has; and what is proposed is a name."""
    steps = [{"name": name, "task": "noop"} for name in names]
    with pytest.raises(DefinitionError) as raised:
        read_definition(json.dumps({"name": "x", "steps": steps}), "f", Tasks())

    found = [each.message.rpartition("for example ")[2] for each in raised.value.problems]
    assert found == proposed
    free = [name for name in names if name.isascii() and name.replace("-", "").isalnum() and not name[0].isdigit()]
    read_definition(
        json.dumps({"name": "x", "steps": [{"name": name, "task": "noop"} for name in (*free, *found)]}), "f", Tasks()
    )
