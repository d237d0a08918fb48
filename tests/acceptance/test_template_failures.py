"""A template that fails in the middle of a run is told with its file, line and column, and what to type."""

from __future__ import annotations

from acceptance.terminal import Terminal

LONG = """\
name: long
params: {a: x, n: 3}
imports: "lib/more of it.yaml"
steps:
  - name: command
    task: shell
    on_error: continue
    inputs:
      command: |
        echo one

        if true; then
          echo {{ n }} {{ n + a }}
        fi
  - name: folded
    task: shell
    on_error: {action: continue, message: "as told: {{ error.nope }}"}
    inputs:
      command: >-
        echo one
        {{ n }}

        {{ a.foo }}
  - {name: quoted, task: echo, on_error: continue, inputs: {message: "it \\"is\\" {{ a }} ü {{ a * a }}"}}
  - {name: condition, task: echo, on_error: continue, condition: n and a > 3, inputs: {message: x}}
  - {name: list, task: echo, on_error: continue, for_each: "{{ n + [1] }}", inputs: {message: x}}
  - {name: item, task: echo, on_error: continue, for_each: [1], inputs: {message: "{{ item + a }}"}}
  - {name: shaped, task: echo, on_error: continue, outputs: {o: "{{ result + 1 }}"}, inputs: {message: x}}
  - {name: asked, task: echo, on_error: continue, repeat: {until: result > 3}, inputs: {message: x}}
  - {name: page, task: template, on_error: continue, inputs: {file: page.j2}}
  - {name: said, task: echo, inputs: {message: "{{ steps.folded.error.message }}"}}
outputs: {o: "{{ a - n }}"}
"""

IMPORTED = """\
name: more
steps:
  - name: imported
    task: echo
    on_error: continue
    inputs:
      message:
        - one
        - "{{ n }} {{ -a }}"
"""


PAGE = "# {{ a }}\n\n{{ n }} of {{ n - a }}\n"


def at(text: str, part: str, file: str = "long.yaml") -> str:
    """Return where a part of a file stands, as an error message has it."""
    before = text[: text.index(part)].split("\n")
    return f"{file}:{len(before)}:{len(before[-1]) + 1}"


def test_each_failure_says_where_it_is_and_what_to_type(terminal: Terminal) -> None:
    """In a block, folded, between quotes, in a condition, a list, an item, an imported file and a file of its own."""
    (terminal.folder / "lib").mkdir()
    terminal.write("long.yaml", LONG)
    terminal.write("lib/more of it.yaml", IMPORTED)
    terminal.write("page.j2", PAGE)

    ended = terminal.flujoctl("run", "long.yaml", "--id", "r")

    assert ended.code == 1
    failed = dict(line[9:].split(": failed", 1) for line in ended.err.splitlines() if ": failed" in line)
    places = {step: told.partition("Error: ")[2].partition(": {{ ")[0] for step, told in failed.items()}
    assert places | {"item": places["item[0]"]} == {
        "imported": at(IMPORTED, "-a }}", "lib/more of it.yaml"),
        "command": at(LONG, "n + a }}"),
        "folded": at(LONG, "a.foo"),
        "quoted": at(LONG, "a * a"),
        "condition": at(LONG, "a > 3"),
        "list": at(LONG, "n + [1]"),
        "item": at(LONG, "item + a"),
        "item[0]": at(LONG, "item + a"),
        "shaped": at(LONG, "result + 1"),
        "asked": at(LONG, "result > 3"),
        "page": at(PAGE, "n - a", "page.j2"),
    }
    said = terminal.flujoctl("logs", "r", "--step", "said").out
    assert f"(its `message` could not be rendered: {at(LONG, 'error.nope')}: {{{{ error.nope }}}}: there is" in said
    assert f"TemplateError: {at(LONG, 'a - n')}: {{{{ a - n }}}}: `-` takes two numbers; here `a`" in ended.err
    assert "write `n ~ a` for one text of both, or `a | int` for the number in the text" in failed["command"]


def test_validate_finds_the_same_places(terminal: Terminal) -> None:
    """Those of names, steps, filters and of what cannot be read, on the line they stand on."""
    bad = LONG.replace('imports: "lib/more of it.yaml"\n', "")
    for right, wrong in (
        *(("{{ n + a }}", "{{ m }}"), ("{{ a.foo }}", "{{ a | fooo }}"), ("a > 3", "b > 3")),
        *(("{{ item + a }}", "{{ item }} {{ steps.nobody.result }}"), ("{{ error.nope }}", "{{ a b }}")),
    ):
        bad = bad.replace(right, wrong)
    terminal.write("bad.yaml", bad)

    ended = terminal.flujoctl("validate", "bad.yaml")

    assert ended.code == 2
    assert [line.partition(": ")[0] for line in ended.out.splitlines()] == [
        at(bad, part, "bad.yaml") for part in ("m }}", "b }}", "fooo", "b > 3", "steps.nobody")
    ]


HEAVY = """\
name: heavy
steps:
  - {name: slow, task: echo, on_error: continue, inputs: {message: "{{ ('a' * 40) | regex_search('(a+)+$b') }}"}}
"""


def test_one_that_takes_too_much_says_where_it_is_too(terminal: Terminal) -> None:
    """Although the process that worked on it has been ended."""
    terminal.write("heavy.yaml", HEAVY)

    ended = terminal.flujoctl("run", "heavy.yaml", "--id", "h")

    part = "{{ ('a' * 40)"
    assert f"TemplateError: {at(HEAVY, part, 'heavy.yaml')}: {part}" in ended.err


def test_a_step_that_could_not_be_rendered_leaves_no_lost_workspace_behind(terminal: Terminal) -> None:
    """The next step works in a new one: the run was paused, since a folder that was never made was taken for lost."""
    terminal.write(
        "first.yaml",
        """\
name: first
params: {a: x}
steps:
  - {name: one, task: shell, on_error: continue, inputs: {command: "echo {{ a + 1 }}"}}
  - {name: two, task: shell, inputs: {command: "echo {{ steps.one.status }}"}}
outputs: {said: "{{ steps.two.result.stdout | trim }}"}
""",
    )

    ended = terminal.flujoctl("run", "first.yaml")

    assert ended.code == 0, ended.err
    assert "failed" in ended.out


def test_no_part_of_a_secret_is_told_with_an_expression(terminal: Terminal) -> None:
    """Neither in what is printed nor in what is recorded."""
    terminal.environment["CANARY_TOKEN"] = "canary-canary-canary"
    text = """\
name: secret
secrets: [CANARY_TOKEN]
steps:
  - {name: one, task: echo, on_error: continue, inputs: {message: "{{ secrets.CANARY_TOKEN[2:] + 1 }}"}}
  - {name: two, task: echo, inputs: {message: "{{ secrets.CANARY_TOKEN[2:] - 1 }}"}}
"""
    terminal.write("secret.yaml", text)

    ended = terminal.flujoctl("run", "secret.yaml", "--id", "r")

    assert f"{at(text, 'secrets.CANARY_TOKEN[2:] - 1', 'secret.yaml')}: {{{{ secrets.CANARY" in ended.err
    assert "nary-canary" not in ended.out + ended.err + terminal.flujoctl("events", "r", "-o", "jsonl").out
