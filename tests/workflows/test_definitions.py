"""A bad definition is refused with everything that is wrong with it, each with its line and column."""

from __future__ import annotations

from textwrap import dedent

import pytest

from flujo.kernel.errors import DefinitionError
from flujo.kernel.journal.retry import RetryPolicy
from flujo.kernel.store.retention import Retention
from flujo.workflows import load_workflow_text
from flujo.workflows.definition_reader import read_definition
from flujo.workflows.definitions import Definition, OnError
from flujo.workflows.other_systems import IN_A_STEP
from flujo.workflows.registry import BUILT_IN, Tasks


def read(text: str) -> Definition:
    return read_definition(dedent(text), "f", Tasks())


def problems_of(text: str) -> list[str]:
    with pytest.raises(DefinitionError) as raised:
        read(text)
    return [str(problem).removeprefix("f:") for problem in raised.value.problems]


def test_a_definition_says_all_it_can_say() -> None:
    """Every key of this release, read into what the interpreter needs."""
    definition = read("""\
        name: report
        description: all keys
        version: "1.10"
        labels: {team: a, tier: 5}
        timeout: 1h
        settings: {colour: red}
        params:
          day: {type: string, required: true}
          any:
        steps:
          - name: one
            task: shell
            description: first
            inputs: {command: "ls {{ args.day | quote }}"}
            params: {stdin: "{{ env.HOME }}"}
            retry: 3
            timeout: 30s
            on_error: continue
          - name: two
            task: echo
            condition: steps.one is defined
            inputs: {message: "{{ steps.one.result.stdout }}"}
            retry: {max_attempts: 4, delay: 5, backoff: 3, max_delay: 1m, jitter: 0, on_error: OSError,
                    give_up_on: [KeyError], max_elapsed: 1h}
        outputs: {said: "{{ steps.two.result }}"}
        """)

    one, two = definition.steps
    assert (definition.name, definition.version, definition.timeout_seconds) == ("report", "1.10", 3600)
    assert definition.labels == {"team": "a", "tier": "5"}
    assert definition.settings == {"colour": "red"}
    assert [parameter.name for parameter in definition.parameters] == ["day", "any"]
    assert definition.outputs == {"said": "{{ steps.two.result }}"}
    assert definition.env_names == {"HOME"}
    assert one.task.name == "shell"
    assert one.inputs == {"command": "ls {{ args.day | quote }}", "stdin": "{{ env.HOME }}"}
    assert one.retry == RetryPolicy(max_attempts=4)
    assert (one.timeout_seconds, one.on_error, two.on_error) == (30, OnError(goes_on=True), OnError())
    assert (definition.graph, definition.max_parallel, definition.max_jumps) == (None, None, 100)
    assert two.retry == RetryPolicy(
        max_attempts=4, delay=5, backoff=3, max_delay=60, jitter=0, on_error=["OSError"], give_up_on=["KeyError"],
        max_elapsed=3600,
    )  # fmt: skip


# Each problem stands at the key or value at fault; what is missing at the top level, at the first line.
BAD: dict[str, tuple[str, list[str]]] = {
    "nothing": ("{}", ["1:1: `name` is missing", "1:1: `steps` is missing"]),
    "a list": ("- a\n", ["1:1: a workflow is a mapping with `name` and `steps`, not a list"]),
    "empty steps": ("name: x\nsteps: []\n", ["2:8: `steps` must have at least one step"]),
    "steps no list": (
        "name: x\nsteps: a\n",
        ['2:8: `steps` must be a list of steps, or a mapping of their names, not the text "a"'],
    ),
    "steps as a mapping": (
        "name: x\nsteps:\n  a: 1\n  b: {name: c, task: noop}\n  c:\n  d d: {task: noop}\n  e: {name: e, task: nop}\n",
        [
            "3:6: a step is a mapping with `name` and `task`, not the number 1",
            "4:13: this step is `b` already; leave `name` out",
            "5:3: `task` is missing in this step",
            '6:3: "d d" is not a valid step name: a letter or _, then up to 99 letters, digits, _, . or -; '
            "for example d-d",
            "7:22: there is no task `nop`; did you mean `noop`?",
        ],
    ),
    "a step no mapping": (
        "name: x\nsteps:\n  - echo\n",
        ['3:5: a step is a mapping with `name` and `task`, not the text "echo"'],
    ),
    "a step without anything": (
        "name: x\nsteps:\n  - {}\n",
        ["3:5: `name` is missing in this step", "3:5: `task` is missing in this step"],
    ),
    "version no text": (
        "name: x\nversion: 1.10\nsteps: [{name: a, task: noop}]\n",
        ['2:10: `version` must be text, not the number 1.10; quote it: "1.10"'],
    ),
    "bad names": (
        "name: my report\nsteps:\n  - name: 1st\n    task: noop\n  - {name: 5, task: noop}\n",
        [
            '3:11: "1st" is not a valid step name: a letter or _, then up to 99 letters, digits, _, . or -; '
            "for example step-1st",
            '5:12: `name` must be text, not the number 5; quote it: "5"',
        ],
    ),
    "words of other systems": (
        """\
        name: x
        jobs: {}
        on: push
        steps:
          - name: a
            run: make
            needs: [b]
            when: true
            continueOn: failure
            command: make
            env: {A: b}
          - {name: b, task: noop, foreach: [1], retries: 3, finally: x}
        """,
        [
            "2:1: the top level has no key `jobs`; write `steps: […]`",
            "3:1: the top level has no key `on`; write nothing here: start runs from cron or a timer",
            "6:5: a step has no key `run`; write `task: shell` with `inputs: {command: …}`",
            "7:5: a step has no key `needs`; write `depends_on: [STEP]`",
            "7:13: these steps wait for each other: a → b → a; `b` says nothing and waits for the step before it, "
            "`depends_on: []`",
            "8:5: a step has no key `when`; write `condition: EXPRESSION`",
            "9:5: a step has no key `continueOn`; write `on_error: continue`",
            "10:5: `command` is an input of task `shell`; put it under `inputs`",
            "12:27: a step has no key `foreach`; write `for_each: LIST`",
            "12:41: a step has no key `retries`; write `retry: N`",
            "12:53: a step has no key `finally`; write a step with `always_run: true`",
        ],
    ),
    "unknown filters and tests": (
        """\
        name: x
        params: {x: {type: string}}
        steps:
          - name: a
            task: echo
            condition: x is exists
            inputs:
              message:
                - "{{ x | from_jsn }}"
                - "{{ x | base64 }} {{ x | trim }}"
                - "{{ [x] | map('uper') | list }} {{ [x] | select('emty') | list }}"
                - |
                  list=(a b); echo "${#list[@]}"
                  docker ps --format '{{.Names}}'
                - "{{ steps.b-c.result }}"
          - {name: b-c, task: noop}
        """,
        [
            "6:18: there is no test `exists`; did you mean `defined`?",
            "9:19: there is no filter `from_jsn`; did you mean `from_json`?",
            "10:19: there is no filter `base64`; did you mean `b64encode`?",
            "11:21: there is no filter `uper`; did you mean `upper`?",
            "14:31: {{.Names}} is of a Go template, and none is rendered here; "
            "braces that are meant for the command itself go between {% raw %} and {% endraw %}",
            "15:15: there is no step `b`; for `b-c` write steps['b-c']",
        ],
    ),
    "a maximum below the delay": (
        "name: x\nsteps:\n  - {name: a, task: noop, retry: {delay: 10m, max_delay: 5m}}\n",
        ["3:58: `max_delay` is below `delay`; leave it out, or make it longer"],
    ),
    "a delay beyond the time there is": (
        "name: x\nsteps:\n  - {name: a, task: noop, retry: {max_attempts: 2, delay: 10m, max_elapsed: 5m}}\n",
        ["3:77: `max_elapsed` is below `delay`, so nothing would be tried again; make it longer"],
    ),
    "retries of waits": (
        "name: x\ndefaults: {retry: 2}\nsteps:\n  - {name: a, task: wait_signal}\n"
        "  - {name: b, task: wait_signal, retry: 3}\n"
        "  - {name: c, task: sleep, inputs: {duration: 1}, on_error: {action: retry, retry: 1}}\n"
        "  - {name: d, task: wait_signal, for_each: [1], retry: {max_attempts: 2}}\n"
        "  - {name: e, task: sleep, inputs: {duration: 1}, retry: 0}\n",
        [
            "5:41: no wait is tried again: `on_error` of task `wait_signal` says what follows when it was in vain",
            "6:61: no wait is tried again: `on_error` of task `sleep` says what follows when it was in vain",
            "7:56: no wait is tried again: `on_error` of task `wait_signal` says what follows when it was in vain",
        ],
    ),
    "words of other systems for a step": (
        """\
        name: x
        steps:
          - name: a
            task: shell
            allow_failure: true
            on_failure: b
            register: out
            image: alpine
            tags: [x]
            notify: ops
            redacted: true
            env: [A=b, C=d e]
            inputs: {command: x}
        """,
        [
            "5:5: a step has no key `allow_failure`; write `on_error: continue`",
            "6:5: a step has no key `on_failure`; write `on_error: …`",
            "7:5: a step has no key `register`; write nothing: `steps.NAME.result` is what a step returns, and "
            "`outputs: {…}` what is made of it",
            "8:5: a step has no key `image`; write `task: shell` with a command such as [docker, run, --rm, IMAGE, …]",
            "9:5: a step has no key `tags`; write `labels: {…}` at the top level",
            "10:5: a step has no key `notify`; write a step with `task: notify`",
            "11:5: a step has no key `redacted`; write `secrets: [NAME]` at the top level, which keeps its value out "
            "of all that is stored",
            '12:10: `env` must be an object, not ["A=b", "C=d e"]; write {A: "b", C: "d e"}',
        ],
    ),
    "parameters that look like other things": (
        "name: x\nparams:\n  a: {colour: red, size: 3}\n  b: {default: 3, max: 5}\n  e: {}\n"
        "steps: [{name: a, task: echo, inputs: {message: '{{ args.aa }} {{ args.c }}'}}]\n",
        [
            "3:6: parameter `a`: a mapping as a default is written {default: {…}}; the keywords are: type, required, "
            "default, enum, allowedValues, pattern, minimum, maximum, minLength, maxLength, minItems, maxItems, items, "
            "format, description",
            "4:19: parameter `b`: there is no keyword `max`; did you mean `maximum`?",
            "6:53: there is no parameter `aa`; did you mean `a`? (in a template)",
        ],
    ),
    "flows that lack what they use": (
        """\
        name: x
        steps:
          - {name: a, task: noop}
          - {name: b, task: echo, inputs: {message: "{{ steps.a.result }}"}}
          - {name: c, task: noop, on_error: {next: d}}
          - {name: d, task: echo, condition: steps.b.status == 'completed', inputs: {message: "{{ steps.b.result }}"}}
        outputs: {v: "{{ steps.d.result | default(none) }}"}
        flows:
          definitions:
            - turned: [b, a, d]
            - fine: [c, d]
        """,
        [
            "4:45: flow `turned`: step `b` uses the result of `a`, which runs later there; write "
            "`steps.a.… | default(…)`",
        ],
    ),
    "flows without steps that theirs name": (
        """\
        name: x
        steps:
          - {name: a, task: noop}
          - {name: c, task: noop, on_error: {next: d}}
          - {name: d, task: noop}
        outputs: {v: "{{ steps.a.result }}"}
        flows:
          definitions:
            - fine: [a]
            - unlucky: [d]
        """,
        [
            "6:14: flow `unlucky`: `outputs` use the result of `a`, which is not in that flow; add it, or write "
            "`steps.a.… | default(…)`",
        ],
    ),
    "flows and their handlers": (
        "name: x\nsteps: [{name: c, task: noop, on_error: {next: d}}, {name: d, task: noop}]\n"
        "flows: {definitions: [{short: [c]}]}\n",
        ["2:48: flow `short` has `c` and not `d`, which its `next` names; add it there"],
    ),
    "names of flows": (
        """\
        name: x
        steps: [{name: d, task: noop}]
        flows:
          default: last
          definitions:
            - all: [d]
            - alone: [d]
            - alone: [d]
            - fast: [d]
        """,
        [
            "4:12: there is no flow `last`; did you mean `fast`?",
            "6:7: `all` is the flow of all steps, which every workflow has; choose another name",
            "8:7: there are two flows called `alone`, the first one in line 7",
        ],
    ),
    "malformed flows": (
        """\
        name: x
        steps:
          - {name: a, task: noop}
        flows:
          first: [a]
          definitions:
            - [a]
            - few: []
            - text: a
            - more: [a, a, 1, b]
        """,
        [
            "5:3: `flows` has no key `first`; it has: default, definitions",
            "7:7: a flow is a name with a list of steps, as in [{quick: [fetch, report]}], not a list",
            "8:12: flow `few` must be a list of the names of steps, not an empty list",
            '9:13: flow `text` must be a list of the names of steps, not the text "a"',
            "10:17: `a` is twice in flow `more`",
            "10:20: flow `more` must list the names of steps, not the number 1",
            "10:23: there is no step `b`; there are: a",
        ],
    ),
    "flows of a graph": (
        """\
        name: x
        steps:
          - {name: a, task: noop}
          - {name: b, task: noop, depends_on: [a]}
          - {name: c, task: noop}
        flows:
          definitions:
            alone: [b]
            turned: [b, a]
            last: [c]
        """,
        [
            "4:40: flow `alone` has `b` and not `a`, which its `depends_on` names; add it there",
            "9:5: flow `turned`: these steps wait for each other: b → a → b; `a` says nothing and waits for the step "
            "before it, `depends_on: []`",
        ],
    ),
    "names of workflows": (
        "name: \"two\\nlines\"\nsteps: [{name: fetch the data!, task: noop}, {name: '...', task: noop}]\n",
        [
            '1:7: "two\\nlines" is not a valid workflow name: one line of 1 to 200 printable characters, '
            "without spaces at its ends",
            '2:16: "fetch the data!" is not a valid step name: '
            "a letter or _, then up to 99 letters, digits, _, . or -; for example fetch-the-data",
            '2:53: "..." is not a valid step name: a letter or _, then up to 99 letters, digits, _, . or -; '
            "for example step-2",
        ],
    ),
    "a circle through what is not said": (
        "name: x\nsteps:\n  - {name: a, task: noop, depends_on: [b]}\n  - {name: b, task: noop}\n",
        [
            "3:40: these steps wait for each other: a → b → a; `b` says nothing and waits for the step before it, "
            "`depends_on: []`"
        ],
    ),
    "a name twice": (
        "name: x\nsteps:\n  - {name: a, task: noop}\n  - {name: a, task: noop}\n",
        ["4:12: there are two steps called `a`, the first one in line 3"],
    ),
    "keys in the wrong place": (
        """\
        name: x
        retry: 3
        max_attempts: 3
        steps:
          - name: a
            task: shell
            command: ls
            version: "1"
            delay: 5
            inputs: {command: ls}
        """,
        [
            "2:1: `retry` belongs to a step, not to the top level",
            "3:1: `max_attempts` belongs to `retry`, not to the top level",
            "7:5: `command` is an input of task `shell`; put it under `inputs`",
            "8:5: `version` belongs to the top level, not to a step",
            "9:5: `delay` belongs to `retry`, not to a step",
        ],
    ),
    "keys nobody knows": (
        "name: x\nstep: []\nfoo: 1\nsteps:\n  - {name: a, task: noop, condtion: x, zzz: 1}\n",
        [
            "2:1: the top level has no key `step`; did you mean `steps`?",
            "3:1: the top level has no key `foo`; it has: name, description, version, params, secrets, steps, outputs, "
            "labels, timeout, max_parallel, settings, retention, flows, imports, defaults, env, env_files",
            "5:27: a step has no key `condtion`; did you mean `condition`?",
            "5:40: a step has no key `zzz`; it has: name, task, inputs, params, description, depends_on, condition, "
            "retry, timeout, on_error, always_run, for_each, progress_update, progress_interval, env, repeat, "
            "outputs",
        ],
    ),
    "unknown tasks": (
        "name: x\nsteps:\n  - {name: a, task: shel}\n  - {name: b, task: zzzzzz}\n",
        [
            "3:21: there is no task `shel`; did you mean `shell`?",
            f"4:21: there is no task `zzzzzz`; there are: {', '.join(sorted(BUILT_IN))}",
        ],
    ),
    "inputs of tasks": (
        """\
        name: x
        steps:
          - name: a
            task: shell
            inputs: {comand: ls, check: maybe, env: "{{ args }}"}
          - name: b
            task: template
            inputs: {template: x, file: y}
          - name: c
            task: sleep
            inputs: {duration: "1:30"}
          - name: d
            task: sleep
          - name: e
            task: echo
            inputs: {message: 1}
            params: {message: 2}
          - name: f
            task: python_code
            inputs:
              code: |
                x = 1
                y = = 2
          - name: g
            task: noop
            inputs: [1]
        """,
        [
            "5:14: there is no input of task `shell` `comand`; did you mean `command`?",
            '5:33: `check` must be a boolean, not "maybe"; write true or false',
            "7:11: task `template` needs exactly one of the inputs `template` and `file`",
            '11:24: `duration` must be a duration such as 90, 90s or 1h30m, not "1:30"',
            "13:11: task `sleep` needs exactly one of the inputs `duration` and `seconds`",
            "17:14: `message` is given under `inputs` and under `params`",
            "23:13: `code` has a syntax error: invalid syntax",
            "26:13: `inputs` must be a mapping, not a list",
        ],
    ),
    "durations and retries": (
        """\
        name: x
        timeout: soon
        steps:
          - {name: a, task: noop, timeout: "1:30", retry: -1}
          - {name: b, task: noop, timeout: 0, retry: often}
          - {name: c, task: noop, retry: {max_attempts: 0, delay: x, backoff: 0.5, jitter: 2, on_error: 5, tries: 1}}
          - {name: d, task: noop, on_error: ignore, retry: {max_attempts: many}}
        """,
        [
            '2:10: `timeout`: "soon" is not a duration; write 90, 90s, 1h30m, 2w, 30d or PT1H30M',
            '4:36: `timeout`: "1:30" is not a duration; write 90, 90s, 1h30m, 2w, 30d or PT1H30M',
            "4:51: `retry` must not be negative",
            "5:36: `timeout` must be longer than nothing",
            '5:46: `retry` must be a number of further attempts or a mapping, not the text "often"',
            "6:49: `max_attempts` must be at least 1, not 0",
            '6:59: `delay`: "x" is not a duration; write 90, 90s, 1h30m, 2w, 30d or PT1H30M',
            "6:71: `backoff` must be at least 1, not 0.5",
            "6:84: `jitter` must be at most 1, not 2",
            "6:97: `on_error` must be a list of error names such as [ConnectionError]",
            "6:100: `retry` has no key `tries`; write `max_attempts: N`",
            '7:37: `on_error` must be fail, continue or a mapping such as {action: retry, retry: 3}, not "ignore"',
            '7:67: `max_attempts` must be an integer, not "many"',
        ],
    ),
    "templates": (
        """\
        name: x
        params: {day: {type: string}}
        steps:
          - name: first-one
            task: echo
            inputs: {message: "{{ steps.later.result }} {{ steps['first-one'].result }}"}
          - name: later
            task: echo
            condition: args.dya == 'x' and steps.first-one is defined
            inputs:
              message:
                - "{{ steps['first-one'].output }}"
                - {deep: "{{ dey }} {{ workspac }}"}
                - "{{ steps.frist.result }}"
                - "{{ a b }}"
                - "{{ env[args.day] }}"
                - "{% for i in [1] %}{{ i }}{{ loop.index }}{% endfor %}{% set z = 1 %}{{ z }}{{ range(3) }}"
          - name: last
            task: echo
            condition: "{{ 1 + }}"
            inputs: {message: "{% include 'x' %}"}
        outputs:
          a: "{{ steps.nobody.result }}"
          b: "{{ steps.last.result }}"
        """,
        [
            "6:27: step `later` runs later than this one",
            "6:52: step `first-one` cannot refer to itself",
            "9:16: there is no parameter `dya`; did you mean `day`? (in a template)",
            "9:36: there is no step `first`; for `first-one` write steps['first-one']",
            "12:15: `steps.first-one` has no `output`; it has: result, status, attempt, error",
            "13:22: there is no name `dey`; did you mean `day`? (in a template)",
            "13:32: there is no name `workspac`; did you mean `workspace`? (in a template)",
            "14:15: there is no step `frist`; there are: first-one, last, later",
            "15:17: the template is malformed: expected token 'end of print statement', got 'b'",
            "16:15: the name of a variable in `env` must be written out, so that it can be recorded",
            "20:24: the template is malformed: unexpected 'end of print statement'",
            "21:27: the template is malformed: `include` is not supported",
            "23:10: there is no step `nobody`; there are: first-one, last, later",
        ],
    ),
    "parameters": (
        """\
        name: x
        params:
          2day: {type: string}
          a: string
          b: {type: text}
          c: {typ: string}
          d: {type: integer, default: x}
        steps: [{name: a, task: noop}]
        """,
        [
            "3:3: `2day` is not a parameter name: letters, digits and _, no digit first",
            "4:6: parameter `a`: string may be its type or its default; write {type: string} for the type, or "
            "{default: string} for the text",
            "5:13: parameter `b`: `type` must be one of string, integer, number, boolean, array, object, "
            'not "text"; write string',
            "6:7: parameter `c`: there is no keyword `typ`; did you mean `type`?",
            '7:31: parameter `d`: `default` must be an integer, not "x"',
        ],
    ),
    "structure and meaning at once": (
        "name: x\nname: y\nfoo: .inf\nsteps:\n  - {name: a, task: nop}\n",
        [
            "2:1: `name` is here twice, first in line 1",
            "3:1: the top level has no key `foo`; it has: name, description, version, params, secrets, steps, outputs, "
            "labels, timeout, max_parallel, settings, retention, flows, imports, defaults, env, env_files",
            "3:6: .inf has no JSON form; quote it if it is text",
            "5:21: there is no task `nop`; did you mean `noop`?",
        ],
    ),
    "dependencies": (
        """\
        name: x
        max_parallel: 0
        steps:
          - {name: a, task: noop, depends_on: {b: c}}
          - {name: b, task: noop, depends_on: [b, c, 5, nobody, c]}
          - {name: c, task: noop, depends_on: []}
        """,
        [
            "2:15: `max_parallel` must be at least 1, not 0",
            "4:39: `depends_on` must be a list of step names such as [fetch], not a mapping",
            "5:40: step `b` cannot depend on itself",
            "5:46: `depends_on` must list the names of steps, not the number 5",
            "5:49: there is no step `nobody`; there are: a, b, c",
            "5:57: `c` is here twice",
        ],
    ),
    "steps that wait for each other": (
        """\
        name: x
        steps:
          - {name: start, task: noop}
          - {name: c, task: noop, depends_on: [start, b]}
          - {name: a, task: noop, depends_on: [c]}
          - {name: b, task: noop, depends_on: [a]}
          - {name: p, task: noop, depends_on: [q]}
          - {name: q, task: noop, on_error: {next: r}}
          - {name: r, task: noop, depends_on: [p], on_error: {next: q}}
        """,
        [
            "4:47: these steps wait for each other: c → b → a → c",
            "7:40: these steps wait for each other: p → q → r → p",
            "9:61: these steps wait for each other: q → r → q",
        ],
    ),
    "what a step of a graph may refer to": (
        """\
        name: x
        steps:
          - {name: a, task: noop}
          - {name: b, task: echo, depends_on: [], inputs: {message: "{{ steps.a.result }}"}}
          - {name: c, task: noop, depends_on: [a]}
          - {name: d, task: echo, depends_on: [c], inputs: {message: "{{ steps.a.result + steps.b.result }}"}}
          - {name: e, task: noop, depends_on: [d], condition: steps.d.result and steps.f.status and steps.tidy.status}
          - {name: f, task: noop, depends_on: [], on_error: {next: g, message: "{{ steps.a.status }}"}}
          - {name: g, task: echo, inputs: {message: "{{ steps.f.status + steps.g.status }}"}}
          - {name: tidy, task: echo, always_run: true, inputs: {message: "{{ steps.e.status + steps.late.status }}"}}
          - {name: late, task: echo, always_run: true, inputs: {message: "{{ steps.e.status + steps.tidy.status }}"}}
          - {name: last, task: noop, depends_on: [tidy]}
        outputs: {all: "{{ steps.b.result }}"}
        """,
        [
            "4:65: step `a` may not have run before this one; add it to `depends_on`",
            "6:83: step `b` may not have run before this one; add it to `depends_on`",
            "7:74: step `f` may not have run before this one; add it to `depends_on`",
            "7:93: step `tidy` is a clean-up without `depends_on`, which runs at the end",
            "8:76: step `a` may not have run before this one; add it to `depends_on`",
            "9:66: step `g` cannot refer to itself",
            "10:87: step `late` is a clean-up without `depends_on`, which runs at the end",
            "12:43: step `tidy` is a clean-up without `depends_on`, which runs at the end, so nothing can depend on it",
        ],
    ),
    "what follows on a failure": (
        """\
        name: x
        settings: {max_jumps: many}
        steps:
          - {name: a, task: noop, retry: 3, on_error: {action: retry, retry: 3}}
          - {name: b, task: noop, on_error: {action: retry}}
          - {name: c, task: noop, on_error: {action: retry, retry: 0, delay: soon}}
          - {name: d, task: noop, on_error: {retry: 3, delay: 5, action: continue}}
          - {name: e, task: noop, on_error: {action: ignore, message: 5, then: f}}
          - {name: f, task: noop, on_error: {action: fail, next: a}}
          - {name: g, task: noop, on_error: {next: nobody, message: "{{ steps.h.status }} {{ steps.g.status }}"}}
          - {name: h, task: noop, always_run: maybe, on_error: retry}
          - {name: i, task: noop, always_run: true, on_error: {next: a}}
          - {name: j, task: noop, next: a}
        """,
        [
            '2:23: `max_jumps` must be an integer, not "many"',
            "4:27: `retry` does not go with `on_error: {action: retry}`; leave one of them out",
            "5:46: `action: retry` needs `retry`, the number of further attempts",
            "6:60: `retry` must be at least 1, not 0",
            '6:70: `delay`: "soon" is not a duration; write 90, 90s, 1h30m, 2w, 30d or PT1H30M',
            "7:38: `retry` in `on_error` goes with `action: retry` only",
            "7:48: `delay` in `on_error` goes with `action: retry` only",
            '8:46: `action` must be fail, continue or retry, not "ignore"',
            '8:63: `message` must be text, not the number 5; quote it: "5"',
            '8:72: `then` says what follows in the end, and can be fail only, not "f"',
            "9:52: `next` goes on after the failure and `action: fail` does not; leave one of them out",
            "10:44: there is no step `nobody`; there are: a, b, c, d, e, f, g, h, i, j",
            "10:65: step `h` runs later than this one",
            "10:86: step `g` cannot refer to itself",
            '11:39: `always_run` must be true or false, not the text "maybe"',
            '11:56: `on_error` must be fail, continue or a mapping such as {action: retry, retry: 3}, not "retry"',
            "12:56: `next` does not go with `always_run`: when a clean-up fails, the run may be over",
            "13:27: `next` belongs to `on_error`, not to a step",
        ],
    ),
    "handlers": (
        """\
        name: x
        steps:
          - {name: a, task: noop, depends_on: [b], on_error: {next: a}}
          - {name: b, task: noop, depends_on: [], on_error: {next: c}}
          - {name: c, task: noop, always_run: true, depends_on: [b]}
        """,
        [
            "3:61: step `a` cannot handle its own failure",
            "4:60: step `c` always runs, so it cannot be for this failure only",
        ],
    ),
    "a retention": (
        "name: x\nretention: {completed: soon, succeeded: 1d, last: 0, on_error: 1d}\nsteps: [{name: a, task: noop}]\n",
        [
            '2:24: `completed`: "soon" is not a duration; write 90, 90s, 1h30m, 2w, 30d or PT1H30M',
            "2:30: `retention` has no key `succeeded`; it has: completed, failed, cancelled, last",
            "2:51: `last` must be at least 1, not 0",
            "2:54: `on_error` belongs to a step, not to `retention`",
        ],
    ),
    "a retention that is none": (
        "name: x\nretention: 30d\nsteps: [{name: a, task: noop}]\n",
        ['2:12: `retention` must be a mapping, not the text "30d"'],
    ),
    "an empty retention": (
        "name: x\nretention: {}\nsteps: [{name: a, task: noop}]\n",
        ["2:12: `retention` says nothing; it has: completed, failed, cancelled, last"],
    ),
    "labels and outputs": (
        "name: x\nlabels: {a: [1]}\noutputs: [1]\nsteps: [{name: a, task: noop, condition: [1]}]\n",
        [
            "2:13: label `a` must be text, not a list",
            "3:10: `outputs` must be a mapping, not a list",
            "4:42: `condition` must be true, false or an expression, not a list",
        ],
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_a_bad_definition_is_refused_with_all_its_problems(case: str) -> None:
    """Exactly these problems, at exactly these places."""
    text, expected = BAD[case]

    assert problems_of(text) == expected


@pytest.mark.parametrize(
    ("word", "meant"),
    [
        ("vars", "params: {v: 1}"),
        ("inputs", "params: {v: 1}"),
        ("retries", "defaults: {retry: 3}"),
        ("ignore_errors", "defaults: {on_error: continue}"),
        ("output", "outputs: {o: 1}"),
        ("secret", "secrets: [FLUJO_TEST]"),
        ("tags", "labels: {team: a}"),
        ("script", "steps: [{name: b, task: shell, inputs: {command: x}}]"),
    ],
)
def test_what_is_told_to_write_at_the_top_may_be_written_there(word: str, meant: str) -> None:
    """Some words mean another key there than in a step, or one that a step has."""
    key = meant.partition(":")[0]

    (problem,) = problems_of(f"name: x\n{word}: 1\nsteps: [{{name: a, task: noop}}]\n")

    assert problem.startswith(f"2:1: the top level has no key `{word}`; write `{key}: ")
    read(f"name: x\n{meant}\n" + ("" if key == "steps" else "steps: [{name: a, task: noop}]\n"))


@pytest.mark.parametrize("word", sorted(IN_A_STEP | {"on_failure"}))
def test_what_only_a_step_has_is_told_so_at_the_top(word: str) -> None:
    """Or it would be refused there once more."""
    (problem,) = problems_of(f"name: x\n{word}: 1\nsteps: [{{name: a, task: noop}}]\n")

    assert " in a step" in problem


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("{completed: 30d, failed: 90d, last: 100}", Retention(completed="30d", failed="90d", last=100)),
        ("{cancelled: 0}", Retention(cancelled=0)),
        ("{last: 3}", Retention(last=3)),
    ],
)
def test_how_long_runs_are_kept(written: str, expected: Retention) -> None:
    """A rule as in Python; without one there is none."""
    workflow = load_workflow_text(f"name: x\nretention: {written}\nsteps: [{{name: a, task: noop}}]\n", "x.yaml")

    assert workflow.retention == expected
    assert read("name: x\nsteps: [{name: a, task: noop}]\n").retention is None


def test_what_follows_on_a_failure() -> None:
    """Every form of `on_error`, and the policies its retries stand for."""
    definition = read("""\
        name: x
        settings: {max_jumps: 5}
        steps:
          - {name: a, task: noop, on_error: {action: retry, retry: 2, delay: 3s, next: c}}
          - {name: b, task: noop, on_error: {action: continue, message: "no {{ error.message }}"}}
          - {name: c, task: noop, on_error: {next: a}}
          - {name: d, task: noop, on_error: {action: retry, retry: 1}, always_run: true}
          - {name: e, task: noop, on_error: {action: fail, message: gone}}
          - {name: f, task: noop, on_error: {}}
        """)

    assert [step.on_error for step in definition.steps] == [
        OnError(goes_on=True, next="c"),
        OnError(goes_on=True, message="no {{ error.message }}"),
        OnError(goes_on=True, next="a"),
        OnError(),
        OnError(message="gone"),
        OnError(),
    ]
    assert [step.retry for step in definition.steps if step.retry.max_attempts > 1] == [
        RetryPolicy(max_attempts=3, delay=3),
        RetryPolicy(max_attempts=2),
    ]
    assert [step.name for step in definition.steps if step.always_run] == ["d"]
    assert definition.max_jumps == 5


PLANS: dict[str, tuple[str, list[tuple[str, ...]]]] = {
    "a sequence": ("{name: a}, {name: b}", [("a",), ("b",)]),
    "a sequence with a clean-up": ("{name: a}, {name: b, always_run: true}", [("a",), ("b", "*")]),
    "a graph": ("{name: a}, {name: b, depends_on: [a]}", [("a",), ("b", "a")]),
    "a graph without edges": ("{name: a}, {name: b, depends_on: []}", [("a", ""), ("b", "")]),
    "a graph with a clean-up": (
        "{name: a}, {name: b, depends_on: [a], always_run: true}, {name: c, always_run: true}",
        [("a",), ("b", "a", "*"), ("c", "*")],
    ),
    "a handler": (
        "{name: a, on_error: {next: h}}, {name: b, depends_on: [a], on_error: {next: h}}, {name: h, depends_on: [b]}",
        [("a",), ("b", "a"), ("h", "b", "a")],
    ),
}


@pytest.mark.parametrize("case", PLANS)
def test_the_plan_tells_what_steps_wait_for(case: str) -> None:
    """Two columns in a sequence; in a graph also the dependencies, those of handlers included; `*` for clean-ups."""
    steps, expected = PLANS[case]

    plan = read(f"name: x\nsteps: [{steps.replace('{name: ', '{task: noop, name: ')}]\n").plan

    assert [(row[0], *row[2:]) for row in plan] == expected


ONE_STEP = """\
name: x
steps:
  - name: a
    task: shell
    inputs: {command: "ls {{ workspace }}"}
    condition: "true"
"""


@pytest.mark.parametrize(
    "change",
    [
        ("    condition", "    retry: 3\n    condition"),
        ("    condition", "    timeout: 5s\n    condition"),
        ("    condition", "    description: new\n    condition"),
        ("    condition", "    on_error: continue\n    condition"),
        ("    condition", "    always_run: true\n    condition"),
        ("    condition", "    depends_on: []\n    condition"),
        ("inputs:", "params:"),
        ("name: x", "name: x\nlabels: {a: b}"),
        ("name: x", "# comment\nname: x"),
    ],
)
def test_what_does_not_change_the_work_does_not_change_its_digest(change: tuple[str, str]) -> None:
    """Retry, timeout, description, labels, on_error and layout are free to change under a run."""
    assert read(ONE_STEP.replace(*change)).steps[0].digest == read(ONE_STEP).steps[0].digest


@pytest.mark.parametrize(
    "change",
    [("ls {{", "ls -l {{"), ('"true"', "false"), ("task: shell", "task: echo\n"), ("{command", "{stdin: x, command")],
)
def test_what_changes_the_work_changes_its_digest(change: tuple[str, str]) -> None:
    """Task, inputs and condition bind a completed step, as they are written."""
    changed = ONE_STEP.replace(*change)
    if "echo" in changed:
        changed = changed.replace("command:", "message:")

    assert read(changed).steps[0].digest != read(ONE_STEP).steps[0].digest


@pytest.mark.parametrize("name", ["Nightly Report", "2026 Ärger: a/b #1", "x", "n" * 200])
def test_a_workflow_is_called_what_people_call_it(name: str) -> None:
    """Any text of one line."""
    assert read(f"name: {name!r}\nsteps: [{{name: a, task: noop}}]\n").name == name


def test_a_long_delay_is_waited_for() -> None:
    """The default of `max_delay` is never below it."""
    definition = read("""\
        name: x
        steps:
          - {name: a, task: noop, retry: {max_attempts: 2, delay: 10m, jitter: 0}}
          - {name: b, task: noop, on_error: {action: retry, retry: 1, delay: 20m}}
        """)

    assert [step.retry.max_delay for step in definition.steps] == [600, 1200]


def test_a_step_that_says_nothing_waits_for_the_step_before() -> None:
    """In a graph as in a sequence; a handler waits for what it handles, a clean-up for the end, `[]` for nothing."""
    definition = read("""\
        name: x
        steps:
          - {name: a, task: noop, on_error: {next: fix}}
          - {name: b, task: noop}
          - {name: c, task: noop, depends_on: a}
          - {name: fix, task: noop}
          - {name: tidy, task: noop, always_run: true}
          - {name: d, task: noop}
          - {name: free, task: noop, depends_on: []}
        """)

    assert definition.graph is not None
    assert definition.graph.waits_for == {
        "a": (),
        "b": ("a",),
        "c": ("a",),
        "fix": ("a",),
        "tidy": (),
        "d": ("fix",),
        "free": (),
    }


WARNED = {
    "a condition": (
        "[{name: a, task: echo, condition: 'workspace != start_dir', inputs: {message: 1}}, USE]",
        "since its condition may be false",
    ),
    "a failure": ("[{name: a, task: noop, on_error: continue}, USE]", "since it may fail and the run goes on"),
    "a jump": (
        "[{name: z, task: noop, on_error: {next: use}}, {name: a, task: noop}, USE]",
        "since it is left out when `z` fails",
    ),
    "a handled failure": (
        "[{name: z, task: noop, on_error: {next: h}}, {name: a, task: noop, depends_on: [z]}, {name: h, task: noop},"
        " {name: use, depends_on: [a, h], task: echo, inputs: {message: 'MESSAGE'}}]",
        "since it is left out when `z` fails",
    ),
    "a handler": (
        "[{name: z, task: noop, on_error: {next: a}}, {name: a, task: noop, depends_on: []}, USE]",
        "since it runs only when a step fails that it handles",
    ),
}


@pytest.mark.parametrize("case", WARNED)
@pytest.mark.parametrize(
    ("message", "is_warned"),
    [
        ("{{ steps.a.result }}", True),
        ("{{ steps.a.result.x.strip() }}", True),
        ("{{ steps.a.result | length }}", True),
        ("{{ 1 + steps['a'].result }}", True),
        ("{{ steps.a.status }}", False),
        ("{{ steps.a.result | default(0) }}", False),
        ("{{ steps.a.result.x.strip() | upper | default('n') }}", False),
        ("{{ 1 if steps.a.result is defined else 2 }}", False),
        ("{{ steps.a.result if steps.a is defined else 2 }}", False),
        ("{% if steps.a is defined %}{{ steps.a.result }}{% endif %}", False),
        ("{{ steps.a is defined and steps.a.result }}", False),
    ],
)
def test_a_result_that_may_be_missing_is_warned_of(case: str, message: str, is_warned: bool) -> None:
    """Unless a `default`, a test or a condition covers it, or what takes it away leaves out its user as well."""
    steps, why = WARNED[case]
    use = "{name: use, task: echo, inputs: {message: 'MESSAGE'}}"
    text = f"name: x\nsteps: {steps.replace('USE', use)}\n".replace("MESSAGE", message.replace("'", "''"))

    warnings = [warning.message for warning in read(text).warnings]

    assert warnings == [f"step `a` may have no result, {why}: write `steps.a.… | default(…)`"] * is_warned


def test_nothing_is_warned_of_where_the_user_is_left_out_as_well() -> None:
    """A condition that asks, or the same failure."""
    definition = read("""\
        name: x
        steps:
          - {name: z, task: noop, on_error: {next: h}}
          - {name: a, task: noop, depends_on: [z]}
          - {name: b, task: echo, depends_on: [a], inputs: {message: "{{ steps.a.result }}"}}
          - {name: h, task: noop}
          - {name: c, task: echo, depends_on: [a, h], condition: steps.a is defined,
             inputs: {message: "{{ steps.a.result }}"}}
        """)

    assert definition.warnings == ()


def test_the_variables_that_every_run_needs_are_known() -> None:
    """Those of templates that are rendered whatever happens, and that nothing covers."""
    definition = read("""\
        name: x
        steps:
          - {name: a, task: echo, inputs: {message: "{{ env.A }} {{ env.B | default('') }} {{ env.get('C', 1) }}"}}
          - {name: b, task: echo, condition: steps.a.result == 'x', inputs: {message: "{{ env.D }}"}}
          - {name: c, task: echo, on_error: continue, inputs: {message: "{{ env.E }}"}}
          - {name: d, task: shell, inputs: {command: ["{{ env['F'] }}"]}, condition: "env.G is defined"}
          - {name: e, task: noop, condition: env.I == 'x'}
          - {name: f, task: noop, condition: "steps.e.status == 'skipped' and env.J == 'x'"}
        outputs: {h: "{{ env.H }}"}
        """)

    assert definition.needed_env == {"A", "H", "I"}


def test_the_templates_of_a_definition_are_bounded_together() -> None:
    """Reading them takes time, and a definition may come from elsewhere."""
    text = "name: x\nsteps:\n  - name: a\n    task: echo\n    inputs:\n      message:\n"
    problems = problems_of(text + '      - "{{ args }}{{ args }}{{ args }}{{ args }}"\n' * 5000)

    assert len(problems) == 1
    assert "all templates of a definition have at most 20000 parts, here are more" in problems[0]


A_STEP = "name: x\nsteps:\n- {name: a, task: noop}\n- {name: b, task: echo, inputs: {message: x}, KEY: 1}\n"

WRITE_IN_A_STEP = {
    "stdout": "`inputs: {…}` of task `shell`",
    "chdir": "`inputs: {…}` of task `shell`",
    "retry_delay": "`retry: {max_attempts: N, delay: 5s}`",
    "timeout-minutes": "`timeout: 5m`",
    "timeout_seconds": "`timeout: 5m`",
    "trigger_rule": "`always_run: true`",
    "priority_weight": "nothing: `max_parallel` at the top level",
    "executor": "`task: shell` with a command such as [docker",
    "artifacts": "nothing: the steps of a run share its workspace",
    "fail-fast": "nothing: once an item has failed",
    "matrix": "`for_each: LIST`, with an item for each combination",
    "strategy": "`for_each: LIST`, with an item for each combination",
    "parallel": "`for_each: LIST`, or `depends_on`",
    "loop_control": "`for_each: {items: LIST, arg_name: NAME",
    "block": "its steps one after the other",
    "switch": "`condition: EXPRESSION` in each",
    "import_tasks": "`imports: [FILE]` at the top level",
    "call": "`task: workflow`",
    "mailOnError": "a step with `task: notify`",
    "signalOnStop": "`stop_signal` under the `inputs` of task `shell`",
    "delegate_to": "nothing: commands run on this machine",
}

WRITE_AT_THE_TOP = {
    "services": "a step with `task: shell` that starts them",
    "volumes": "a step with `task: shell` that starts them",
    "concurrency": "`settings: {on_overlap: queue}`",
    "max_active_runs": "`settings: {on_overlap: queue}`",
    "handlerOn": "a step with `always_run: true`",
    "triggers": "nothing here: start runs from cron",
    "apiVersion": "`name` and `steps`",
    "spec": "`name` and `steps`",
    "namespace": "`labels: {namespace: …}`",
    "before_script": "a first step",
    "default_args": "`defaults: {retry: N",
    "hosts": "nothing: commands run on this machine",
}

WRITE_WITHIN = {
    "retry: {KEY: 1}": {"attempts": "`max_attempts: N`", "interval": "`delay: 5s`", "factor": "`backoff: 2`"},
    "for_each: {KEY: [1]}": {"in": "`items: LIST`", "as": "`arg_name: NAME`", "parallel": "`max_workers: N`"},
    "repeat: {KEY: 1}": {"every": "`interval: 10s`", "times": "`max: N`", "when": "`until: EXPRESSION`"},
}


@pytest.mark.parametrize(("key", "written"), WRITE_IN_A_STEP.items())
def test_the_key_of_another_system_in_a_step_is_answered_with_what_to_write(key: str, written: str) -> None:
    """And not with the nearest key of flujo, which has nothing to do with it."""
    (problem,) = problems_of(A_STEP.replace("KEY", key))

    assert problem.startswith(f"4:47: a step has no key `{key}`; write {written}")


@pytest.mark.parametrize(("key", "written"), WRITE_AT_THE_TOP.items())
def test_the_key_of_another_system_at_the_top_is_answered_with_what_to_write(key: str, written: str) -> None:
    """Where it may mean something else than in a step."""
    (problem,) = problems_of(f"name: x\n{key}: x\nsteps: [{{name: a, task: noop}}]\n")

    assert problem.startswith(f"2:1: the top level has no key `{key}`; write {written}")


@pytest.mark.parametrize(
    ("place", "key", "written"), [(place, *pair) for place, pairs in WRITE_WITHIN.items() for pair in pairs.items()]
)
def test_the_key_of_another_system_within_a_mapping_is_answered_with_what_to_write(
    place: str, key: str, written: str
) -> None:
    """Each mapping has words of its own."""
    problems = problems_of(A_STEP.replace("KEY: 1", place.replace("KEY", key)))

    assert any(f"` has no key `{key}`; write {written}" in problem for problem in problems)


@pytest.mark.parametrize(
    ("retention", "told"),
    [
        ("{keep: 3}", "2:13: `retention` has no key `keep`; write `last: N`"),
        (
            "{days: 30}",
            "2:13: `retention` has no key `days`; write `completed: 30d`, and `failed` and `cancelled` likewise",
        ),
    ],
)
def test_other_words_for_retention_are_answered_with_its_own(retention: str, told: str) -> None:
    """How many, or how long, and of what."""
    assert told in problems_of(f"name: x\nretention: {retention}\nsteps: [{{name: a, task: noop}}]\n")


@pytest.mark.parametrize(
    ("template", "told"),
    [
        ("{{ inputs.day }}", "there is no name `inputs`; write `args.NAME`"),
        ("{{ params.day }}", "there is no name `params`; write `args.NAME`"),
        ("${{ needs.build.outputs.x }}", "there is no name `needs`; write `steps.NAME.result`"),
        ("{{ ti.xcom_pull('a') }}", "there is no name `ti`; write `steps.NAME.result`"),
        ("{{ matrix.os }}", "there is no name `matrix`; write `item`"),
        ("{{ ds }}", "there is no name `ds`; write `timestamp`"),
        ("{{ github.ref }}", "there is no name `github`; write `env.NAME`"),
        (
            "{{ always() }}",
            "there is no name `always`; write `steps.NAME.status == 'completed'`, or `always_run: true`",
        ),
        ("{{ dayz }} {{ outputss }}", "there is no name `dayz`; did you mean `day`?"),
        ("{{ day && day }}", "unexpected char '&' at 7; write `and` for &&"),
        ("{{ day || day }}", "expected token 'name', got '|'; write `or` for ||"),
        ("{{ !day }}", "unexpected char '!' at 3; write `not` for !"),
        ("{{ day ? 1 : 2 }}", "unexpected char '?' at 7; write `A if CONDITION else B` for ?:"),
        ("{{ day === 'x' }}", "unexpected '='; write `==` to compare"),
    ],
)
def test_names_and_signs_of_other_languages_are_answered_with_those_of_templates(template: str, told: str) -> None:
    """Each with the place where it stands."""
    problems = problems_of(
        f'name: x\nparams: {{day: x}}\nsteps:\n- {{name: a, task: echo, inputs: {{message: "{template}"}}}}\n'
    )

    assert problems[0].startswith("4:")
    assert told in problems[0]


def test_a_parameter_that_is_like_the_word_of_another_system_is_meant() -> None:
    """`inputs` beside a parameter `input` is a slip of the pen."""
    problems = problems_of(
        "name: x\nparams: {input: x}\nsteps:\n- {name: a, task: echo, inputs: {message: '{{ inputs }}'}}\n"
    )

    assert "did you mean `input`?" in problems[0]


@pytest.mark.parametrize(
    ("setting", "told"),
    [
        ("retention: {last: 3}", "`retention` does nothing in `settings`; write it at the top level, as `retention: {"),
        (
            "max_parallel: 3",
            "`max_parallel` does nothing in `settings`; write it at the top level, or `max_workers` here",
        ),
        ("retry: 3", "`retry` does nothing in `settings`; write `defaults: {retry: …}` at the top level"),
        (
            "on_error: continue",
            "`on_error` does nothing in `settings`; write `defaults: {on_error: …}` at the top level",
        ),
        ("env_files: [.env]", "`env_files` does nothing in `settings`; write it at the top level"),
        ("secrets: [TOKEN]", "`secrets` does nothing in `settings`; write it at the top level"),
    ],
)
def test_a_setting_that_would_do_nothing_is_refused(setting: str, told: str) -> None:
    """Settings hold any values for templates, but nobody means one by these words."""
    (problem,) = problems_of(f"name: x\nsettings: {{{setting}}}\nsteps: [{{name: a, task: noop}}]\n")

    assert problem.startswith(f"2:12: {told}")


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ("env: [{A: one}, {B: two}]", '2:6: `env` must be a mapping, not a list; write {A: "one", B: "two"}'),
        ("env: ['A=b', 'C=d=e']", '2:6: `env` must be a mapping, not a list; write {A: "b", C: "d=e"}'),
        (
            "params: FOO=1 BAR=x",
            '2:9: `params` must be a mapping, not the text "FOO=1 BAR=x"; write {FOO: "1", BAR: "x"}',
        ),
        ("params: [{name: day, default: x}]", '2:9: `params` must be a mapping, not a list; write {day: "x"}'),
        ("params: [{name: day, value: 3}]", "2:9: `params` must be a mapping, not a list; write {day: 3}"),
        ("outputs: [{a: 1}]", "2:10: `outputs` must be a mapping, not a list; write {a: 1}"),
        ("env: [A, B]", "2:6: `env` must be a mapping, not a list"),
        ("env: ['A=b', C]", "2:6: `env` must be a mapping, not a list"),
        ("params: [{name: day, type: string}]", "2:9: `params` must be a mapping, not a list"),
        ("env: []", "2:6: `env` must be a mapping, not a list"),
        ("env: A B", '2:6: `env` must be a mapping, not the text "A B"'),
    ],
)
def test_pairs_are_answered_with_the_mapping_they_are_meant_as(given: str, told: str) -> None:
    """Where all of them are pairs."""
    assert told in problems_of(f"name: x\n{given}\nsteps: [{{name: a, task: noop}}]\n")
