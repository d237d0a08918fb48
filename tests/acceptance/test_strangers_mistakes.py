"""Mistakes that people make who know YAML and have not read the docs: each is told with its place and what to type."""

from __future__ import annotations

import pytest

from acceptance.terminal import Terminal

DECLARED = """\
name: declared
params:
  count: {type: integer, minimum: 5, maximum: 1}
  label: {type: string, minimum: 1}
  choice: {type: string, choices: [a, b]}
  may: {optional: true}
  level: {type: integer, enum: ["1"]}
steps:
  - name: code
    task: python_code
    inputs:
      code: |
        x = 1
        if x
          y = 2
  - {name: one, task: python_code, inputs: {code: "x = [1"}}
  - {name: loop, task: echo, for_each: "[1, 2]", inputs: {message: x}}
flows: {definitions: [{nothing: []}]}
"""


def test_declarations_that_say_nothing_or_too_much_are_refused(terminal: Terminal) -> None:
    """All at once, each where it stands, in code too."""
    terminal.write("declared.yaml", DECLARED)

    ended = terminal.flujoctl("run", "declared.yaml")

    assert ended.code == 2
    assert [line.removeprefix("declared.yaml:") for line in ended.err.splitlines() if "yaml:" in line] == [
        "3:47: parameter `count`: `maximum` is below `minimum`, so no value would fit",
        "4:34: parameter `label`: `minimum` is for numbers, and this is a string; write `minLength`, or leave it out",
        "5:26: parameter `choice`: the values that are allowed are listed as `enum: [a, b]`",
        "6:9: parameter `may`: there is no keyword `optional`: a parameter may be left out unless it says "
        "`required: true`; a mapping as a default is written {default: {…}}",
        '7:32: parameter `level`: `enum` lists "1", which is not an integer',
        "14:9: `code` has a syntax error: expected ':'",
        "16:56: `code` has a syntax error: '[' was never closed",
        '17:40: `for_each` must be a list or one `{{ … }}`, not the text "[1, 2]"; text is never split: it is JSON, '
        "so write `| fromjson`, or the list without quotes",
        "18:33: flow `nothing` must be a list of the names of steps, not an empty list",
    ]


@pytest.mark.parametrize(
    ("path", "told"),
    [
        ("~/common.yaml", "does not exist: `~` stands for no folder here; write the path out"),
        ("https://example.org/x.yaml", "is no file: imports are files, so fetch it before, or in a step"),
        ("gone.yaml", "does not exist; it was looked for as "),
    ],
)
def test_an_import_that_is_no_file_says_why(path: str, told: str, terminal: Terminal) -> None:
    """As it was written, at its place."""
    terminal.write("main.yaml", f'name: main\nimports: ["{path}"]\nsteps: [{{name: a, task: noop}}]\n')

    ended = terminal.flujoctl("run", "main.yaml")

    assert ended.code == 2
    assert f"main.yaml:2:11: the imported file `{path}` {told}" in ended.err


def test_a_parameter_may_have_any_name_that_a_template_can_use(terminal: Terminal) -> None:
    """It could be declared and not be given."""
    terminal.write(
        "named.yaml",
        "name: named\nparams: {größe: 3, 名前: x}\nsteps: [{name: a, task: noop}]\n"
        'outputs: {said: "{{ größe + 1 }} {{ 名前 }}"}\n',
    )

    ended = terminal.flujoctl("run", "named.yaml", "größe=4", '名前:="y"', "-o", "json")

    assert ended.code == 0, ended.err
    assert '"said": "5 y"' in ended.out


def test_a_child_that_is_not_there_is_told_with_where_it_was_looked_for(terminal: Terminal) -> None:
    """When its name is only known in the run."""
    terminal.write("main.yaml", "name: main\nsteps: [{name: a, task: workflow, inputs: {file: \"{{ 'x' }}.yaml\"}}]\n")

    ended = terminal.flujoctl("run", "main.yaml")

    assert ended.code == 1
    assert f"DefinitionError: x.yaml: there is no such file; it was looked for as {terminal.folder}/x.yaml" in ended.err


def test_a_file_that_lies_where_the_run_was_started_is_found_with_what_to_type(terminal: Terminal) -> None:
    """Paths count from the workspace: the failure says so, and what it says works."""
    terminal.write("data.csv", "a,b")
    text = (
        "name: reads\nsteps: [{name: a, task: read_file, inputs: {path: PATH}}]\noutputs: {o: '{{ steps.a.result }}'}\n"
    )
    terminal.write("reads.yaml", text.replace("PATH", "data.csv"))
    terminal.write("gone.yaml", text.replace("PATH", "out/gone.csv"))

    ended = terminal.flujoctl("run", "reads.yaml", "--id", "r")
    gone = terminal.flujoctl("run", "gone.yaml", "--id", "g")

    workspaces = terminal.folder / ".flujo" / "workspaces"
    told = f"FileNotFoundError: there is no 'data.csv' in the workspace, {workspaces / 'r'}"
    way = "there is one where the run was started: write '{{ start_dir }}/data.csv' with `allow_outside: true`"
    assert f"{told}; {way}" in ended.err
    assert f"there is no 'out/gone.csv' in the workspace, {workspaces / 'g'}\n" in gone.err

    terminal.write("reads.yaml", text.replace("PATH", '"{{ start_dir }}/data.csv", allow_outside: true'))

    assert "a,b" in terminal.flujoctl("resume", "r").out


def test_a_shell_that_is_no_program_is_refused(terminal: Terminal) -> None:
    """It ended in the first command."""
    terminal.write(
        "shell.yaml", "name: s\nsettings: {shell: 3}\nsteps: [{name: a, task: shell, inputs: {command: x}}]\n"
    )

    ended = terminal.flujoctl("run", "shell.yaml")

    assert ended.code == 2
    assert "shell.yaml:2:19: `shell` must be a program such as bash or /bin/zsh, not the number 3" in ended.err
