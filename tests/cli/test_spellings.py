"""Spellings that people's files have, run as they are; what is refused tells how to write it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from cli.conftest import Ended, Flujoctl

PLAIN = """\
name: Plain things
params: {day: monday, count: 3, dry: false, hosts: [a], nothing: null}
steps:
  first: {task: echo, inputs: {message: "{{ args }}"}}
  second: {task: echo, inputs: {message: "{{ args.colour | default('grey') }}"}}
outputs: {args: "{{ steps.first.result }}", colour: "{{ steps.second.result }}"}
"""


def output_of(ended: Ended) -> Any:
    """The output of a run that has completed."""
    assert ended.code == 0, ended
    return json.loads(ended.out)["output"]


@pytest.fixture
def plain(folder: Path) -> str:
    """A file with parameters as plain defaults and steps by name."""
    (folder / "plain.yaml").write_text(PLAIN)
    return "plain.yaml"


def test_steps_can_be_a_mapping_and_parameters_plain_defaults(plain: str, flujoctl: Flujoctl) -> None:
    """In the order of the file."""
    output = output_of(flujoctl("run", plain, "-o", "json"))

    assert output == {
        "args": {"day": "monday", "count": 3, "dry": False, "hosts": ["a"]},
        "colour": "grey",
    }
    assert flujoctl("graph", plain).out.splitlines() == ["  1. first", "  2. second"]


def test_what_is_typed_is_read_into_the_type_of_the_default(plain: str, flujoctl: Flujoctl) -> None:
    """A text is replaced by anything; what is not declared comes as it was typed."""
    typed = ("day=5", "count=5", "dry=true", 'hosts=["b"]', "colour=red", "other:=1")

    ended = flujoctl("run", plain, *typed, "-o", "json")

    assert output_of(ended) == {
        "args": {"day": "5", "count": 5, "dry": True, "hosts": ["b"], "colour": "red", "other": 1},
        "colour": "red",
    }
    assert [line for line in ended.err.splitlines() if line.startswith("note: ")] == [
        f"note: Plain things declares no parameter {name!r}; it gets it as it was typed" for name in ("colour", "other")
    ]


@pytest.mark.parametrize(
    ("typed", "told"),
    [
        (("count=x",), 'count: must be a number, not "x"'),
        (("dry=yes",), 'dry: must be a boolean, not "yes"; write true or false'),
        (("cuont=3",), "cuont: there is no parameter `cuont`; did you mean `count`?"),
        (
            ("colour=red", "--strict-params"),
            "colour: is not declared, and --strict-params is given; declared: day, count, dry, hosts, nothing",
        ),
    ],
)
def test_what_does_not_fit_is_refused(plain: str, flujoctl: Flujoctl, typed: tuple[str, ...], told: str) -> None:
    """By its name, before a store is made."""
    refused = flujoctl("run", plain, *typed)

    assert refused.code == 2
    assert told in refused.err


def test_a_parameter_that_is_not_declared_stays_with_its_run(folder: Path, flujoctl: Flujoctl) -> None:
    """Over a resume, where it may be replaced like any other, and binds what has used it."""
    (folder / "w.yaml").write_text(
        "name: w\nsteps:\n  a: {task: echo, inputs: {message: '{{ args.colour }}'}}\n"
        "  b: {task: shell, inputs: {command: 'echo {{ args.colour }} >> seen; test -e ok'}}\n"
    )
    flujoctl("run", "w.yaml", "colour=red", "--id", "r", "--workspace", ".")
    (folder / "ok").touch()

    refused = flujoctl("resume", "r", "colour=blue")
    resumed = flujoctl("resume", "r")

    assert refused.code == 4
    assert 'a: it has completed with `colour` "red", now "blue"' in refused.err
    assert resumed.code == 0
    assert (folder / "seen").read_text() == "red\nred\n"


def test_one_that_is_missing_is_asked_for_before_the_first_step(folder: Path, flujoctl: Flujoctl) -> None:
    """`validate` has warned of it."""
    (folder / "w.yaml").write_text("name: w\nsteps: {a: {task: echo, inputs: {message: '{{ args.colour }}'}}}\n")

    validated = flujoctl("validate", "w.yaml")
    refused = flujoctl("run", "w.yaml")

    assert validated.code == 0
    assert "w.yaml:2:43: " in validated.out + validated.err
    assert "`colour` is not declared under `params`" in validated.out + validated.err
    assert refused.code == 2
    assert "colour: has no value and no default: give one" in refused.err
    assert flujoctl("run", "w.yaml", "colour=red").code == 0


def test_a_step_returns_what_its_outputs_say(folder: Path, flujoctl: Flujoctl) -> None:
    """Typed, and nothing else; parameters in them bind the step once it has completed."""
    (folder / "w.yaml").write_text(
        "name: w\nparams: {add: 1}\nsteps:\n  - name: a\n    task: shell\n    inputs: {command: echo 3 files}\n"
        "    outputs: {files: '{{ result.stdout.split() | first | int + add }}', fixed: [1], text: 'x{{ add }}'}\n"
        "  - {name: b, task: shell, inputs: {command: 'test -e ok'}}\n"
        "outputs: {a: '{{ steps.a.result }}'}\n"
    )
    flujoctl("run", "w.yaml", "--id", "r", "--workspace", ".")
    (folder / "ok").touch()

    refused = flujoctl("resume", "r", "add=2")
    resumed = flujoctl("resume", "r", "-o", "json")

    assert refused.code == 4
    assert "a: it has completed with `add` 1, now 2" in refused.err
    assert output_of(resumed) == {"a": {"files": 4, "fixed": [1], "text": "x1"}}


def test_outputs_that_cannot_be_made_fail_their_step(folder: Path, flujoctl: Flujoctl) -> None:
    """It is not tried again, since they would fail again."""
    (folder / "w.yaml").write_text(
        "name: w\nsteps:\n"
        "  - {name: a, task: shell, retry: 3, inputs: {command: x=1}, outputs: {n: '{{ result.stdoot }}'}}\n"
    )

    failed = flujoctl("run", "w.yaml", "--id", "r")

    assert failed.code == 1
    assert "stdoot" in failed.err
    assert json.loads(flujoctl("inspect", "r", "-o", "json").out)["steps"][0]["attempt"] == 1


@pytest.mark.parametrize(
    ("step", "told"),
    [
        ("task: echo, inputs: {message: x}, outputs: name", "2:62: `outputs` of a step are a mapping such as"),
        ("task: sleep, inputs: {duration: 1}, outputs: {a: b}", "2:55: `outputs` do not go with task `sleep`"),
        ("task: echo, for_each: [1], inputs: {message: x}, outputs: {a: b}", "2:68: `outputs` do not go with a loop"),
        ("task: noop, outputs: {a: '{{ resutl }}'}", "2:48: there is no name `resutl`; did you mean `result`?"),
    ],
)
def test_outputs_that_say_nothing_are_refused(folder: Path, flujoctl: Flujoctl, step: str, told: str) -> None:
    """Where they stand."""
    (folder / "w.yaml").write_text(f"name: w\nsteps: [{{name: a, {step}}}]\n")

    assert f"w.yaml:{told}" in flujoctl("validate", "w.yaml").out


@pytest.mark.parametrize("key", ["condition: ", "repeat: {until: "])
def test_a_condition_with_braces_around_a_part_is_refused_with_what_it_means(
    key: str, folder: Path, flujoctl: Flujoctl
) -> None:
    """Before anything runs: as a text it would never be true or false."""
    end = "}" if key.endswith("until: ") else ""
    (folder / "w.yaml").write_text(
        f"name: w\nparams: {{mode: full}}\nsteps:\n"
        f"  - {{name: a, task: noop, {key}\"'{{{{ args.mode }}}}' == 'full'\"{end}}}\n"
    )

    refused = flujoctl("run", "w.yaml")

    assert refused.code == 2
    assert "with braces around parts of it a condition is a text, and never true or false; write it as one" in (
        refused.err
    )
    assert "expression: \"args.mode == 'full'\"" in refused.err


def test_file_path_is_a_word_for_path(folder: Path, flujoctl: Flujoctl) -> None:
    """In every task for a file."""
    (folder / "w.yaml").write_text(
        "name: w\nsteps:\n"
        "  - {name: w, task: write_file, inputs: {file_path: a.txt, content: one}}\n"
        "  - {name: a, task: append_file, inputs: {file_path: a.txt, content: two}}\n"
        "  - {name: r, task: read_file, inputs: {file_path: a.txt}}\n"
        "  - {name: j, task: write_json, inputs: {file_path: a.json, data: [1]}}\n"
        "  - {name: k, task: read_json, inputs: {file_path: a.json}}\n"
        "  - {name: d, task: delete_file, inputs: {file_path: a.txt}}\n"
        "outputs: {text: '{{ steps.r.result }}', data: '{{ steps.k.result.data }}'}\n"
    )

    assert output_of(flujoctl("run", "w.yaml", "-o", "json")) == {"text": "onetwo", "data": [1]}


def test_output_file_is_a_word_for_the_path_of_what_is_written(folder: Path, flujoctl: Flujoctl) -> None:
    """A template as any other."""
    (folder / "w.yaml").write_text(
        "name: w\nparams: {name: x y}\nsteps:\n"
        "  - {name: w, task: write_file, inputs: {output_file: '{{ args.name }}.txt', content: one}}\n"
        "  - {name: a, task: append_file, inputs: {output_file: '{{ args.name }}.txt', content: two}}\n"
        "  - {name: r, task: read_file, inputs: {path: x y.txt}}\n"
        "  - {name: j, task: write_json, inputs: {output_file: a.json, data: [1]}}\n"
        "  - {name: k, task: read_json, inputs: {path: a.json}}\n"
        "  - {name: y, task: write_yaml, inputs: {output_file: a.yaml, data: [1]}}\n"
        "  - {name: z, task: read_yaml, inputs: {path: a.yaml}}\n"
        "outputs: {text: '{{ steps.r.result }}', data: '{{ steps.k.result.data + steps.z.result.data }}'}\n"
    )

    assert output_of(flujoctl("run", "w.yaml", "-o", "json")) == {"text": "onetwo", "data": [1, 1]}


def test_words_of_other_engines_for_what_a_command_takes(folder: Path, flujoctl: Flujoctl) -> None:
    """`output_file`, `cwd` and `input` of a command."""
    (folder / "w.yaml").write_text(
        "name: w\nsteps:\n"
        "  - {name: a, task: shell, inputs: {command: 'mkdir in; cat', input: one, output_file: a.txt}}\n"
        "  - {name: b, task: shell, inputs: {command: 'cat ../a.txt', cwd: in}}\n"
        "outputs: {said: '{{ steps.b.result.stdout }}'}\n"
    )

    assert output_of(flujoctl("run", "w.yaml", "-o", "json")) == {"said": "one"}


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("steps: [{name: a, task: echo, inputs: {message: {{ x }}}}]", "a template stands in quotes, or YAML takes"),
        ("steps:\n  - name: a\n    task: echo\n    inputs:\n      message: {{ args.x }} end\n", '"{{ args.x }}"'),
        ("params: {x: {{ y | default('z') }}}\nsteps: [{name: a, task: noop}]", "\"{{ y | default('z') }}\""),
        ("steps: [{name: a, task: bash}]", "there is no task `bash`; it is `shell` here"),
        ("steps: [{name: a, task: http_get}]", "it is `http.request` here"),
        ("steps: [{name: a, task: foreach}]", "it is `for_each: LIST` beside another task, or `batch` here"),
        ("steps: [{name: a, task: shel}]", "there is no task `shel`; did you mean `shell`?"),
        ("params: {n: {type: int}}\nsteps: [{name: a, task: noop}]", 'not "int"; write integer'),
        ("params: {n: {type: [str, list]}}\nsteps: [{name: a, task: noop}]", 'not "str"; write string'),
        (
            "steps: [{build: {task: noop}}]",
            "a step of a list begins with its name, and has its keys beside it: `- ",
        ),
        ("steps: [{name: a, task: noop}, {name: b, task: noop}, {name: c, task: noop, depends_on: 'a, b'}]", "[a, b]"),
        ("steps: [{name: a, task: noop}, {name: b, task: noop, depends_on: 'x, y'}]", "there is no step `x, y`"),
    ],
)
def test_what_people_write_elsewhere_is_told_in_the_words_used_here(
    text: str, told: str, folder: Path, flujoctl: Flujoctl
) -> None:
    """At its place, with what to write instead."""
    (folder / "w.yaml").write_text(f"name: w\n{text}\n")

    refused = flujoctl("validate", "w.yaml")

    assert refused.code == 2
    assert told in refused.out + refused.err
