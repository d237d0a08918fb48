"""Secrets of a definition: what is refused, what is seen, and that nothing that is stored or printed holds a value."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import pytest

from flujo.workflows.secret_values import Secrets, passwords_of_stores
from workflows.tasks.conftest import Runs
from workflows.tasks.local_server import LocalServer, Reply, serving
from workflows.test_docs import blocks

CANARY = "c4nary/ö-'7\\x+Kq"
TOP = "secrets: [CANARY]"

FORMS = (
    CANARY,
    CANARY[:9],
    CANARY[-5:],
    CANARY.lower(),
    json.dumps(CANARY)[1:-1],
    json.dumps(json.dumps(CANARY)[1:-1])[1:-1],
    quote(CANARY, safe=""),
    quote(CANARY),
    base64.b64encode(CANARY.encode()).decode()[:12],
    base64.b64encode(b"u:" + CANARY.encode()).decode()[4:16],
)
"""By which it would be found: whole, its beginning, its end, and encoded."""


@pytest.fixture(autouse=True)
def canary(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CANARY", CANARY)


@pytest.fixture
def server() -> Iterator[LocalServer]:
    with serving() as local:
        yield local


def stored(runs: Runs, *ids: str) -> str:
    """All that is stored, and all that any command prints of the runs."""
    told = [path.read_bytes().decode("utf-8", "replace") for path in runs.folder.rglob("*") if path.is_file()]
    for run_id in ids or ("r",):
        for command in (
            ["inspect", run_id, "-o", "json"],
            ["inspect", run_id],
            ["events", run_id, "-o", "jsonl"],
            ["logs", run_id],
            ["explain", run_id],
            ["export", run_id],
            ["trace", run_id],
        ):
            ended = runs.flujoctl(*command)
            told += [ended.out, ended.err]
    return "\n".join(told)


def assert_not_in(text: str) -> None:
    """The canary is found nowhere, in no form."""
    for form in FORMS:
        at = text.find(form)
        assert at < 0, text[max(0, at - 200) : at + 100]


LEAKS = {
    "printed": "task: shell, inputs: {command: 'printf \"%s\\n\" \"$CANARY\"; printf \"%s\" \"x$CANARY\" >&2'}",
    "printed by a failing command": "task: shell, inputs: {command: 'echo \"$CANARY\" >&2; exit 3'}",
    "in a command that fails without a word": "task: shell, inputs: {command: [test, -d, '{{ secrets.CANARY }}']}",
    "the same as a text": "task: shell, inputs: {command: 'test -d {{ secrets.CANARY | quote }}'}",
    "at the cut of a long command": (
        "task: shell, inputs: {command: 'test -d {{ \"x\" * 180 }}{{ secrets.CANARY | quote }}'}"
    ),
    "at the cut of an output that a failure shows": (
        "task: shell, inputs: {max_output: 40, command: "
        "'printf \"%015d%s%050d%s%014d\" 0 \"$CANARY\" 0 \"$CANARY\" 0; exit 3'}"
    ),
    "split over two writes": (
        "task: python_code, inputs: {code: 'import os, sys; s = os.environ[\"CANARY\"]; "
        "sys.stderr.write(s[:5]); sys.stderr.flush(); sys.stderr.write(s[5:]); sys.stderr.flush()'}"
    ),
    "raised": "task: python_code, inputs: {code: 'import os; raise ValueError(\"no \" + os.environ[\"CANARY\"])'}",
    "raised from another": (
        "task: python_code, inputs: {code: 'import os\n\ntry: raise KeyError(os.environ[\"CANARY\"])\n\n"
        "except KeyError as e: raise RuntimeError(os.environ[\"CANARY\"]) from e'}"
    ),
    "returned": (
        "task: python_code, inputs: {code: 'import os; s = os.environ[\"CANARY\"]; result = {s: [s, s + s]}'}"
    ),
    "in a line": (
        "task: python_code, inputs: {code: 'import os; result = \"a\" + chr(10) + os.environ[\"CANARY\"] + chr(10)'}"
    ),
    "base64": "task: shell, inputs: {command: 'printf \"u:%s\" \"$CANARY\" | base64; printf %s \"$CANARY\" | base64'}",
    "of a template": (
        "task: echo, inputs: {message: '{{ secrets.CANARY }} {{ env.CANARY | tojson }} {{ secrets | tojson }}'}"
    ),
    "encoded by a template": (
        "task: echo, inputs: {message: '{{ secrets.CANARY | urlencode }} {{ secrets.CANARY | b64encode }}'}"
    ),
    "in a template that fails": "task: echo, inputs: {message: '{{ secrets.CANARY | bool }}'}",
    "in a wrong input": "task: shell, inputs: {command: [x], max_output: '{{ secrets.CANARY }}'}",
    "in a condition": "task: noop, condition: secrets.CANARY",
    "in a condition of rounds": "task: noop, repeat: {until: secrets.CANARY, max: 2, interval: 1ms}",
    "in the last round": (
        "task: shell, repeat: {until: 'result.stdout == secrets.CANARY', max: 2, interval: 1ms}, "
        "inputs: {command: 'printf %s \"$CANARY\"'}"
    ),
    "in outputs of a step": "task: noop, outputs: {a: '{{ secrets.CANARY }}', '{{ env.CANARY }}': b}",
    "in outputs of a step that fail": "task: noop, outputs: {a: '{{ secrets.CANARY | bool }}'}",
    "cut by outputs of a step": (
        "task: shell, inputs: {command: 'printf %s \"$CANARY\"'}, outputs: {a: '{{ result.stdout[:9] }}'}"
    ),
    "in a message": (
        "task: fail, inputs: {message: '{{ secrets.CANARY }}'}, "
        "on_error: {action: continue, message: 'm {{ secrets.CANARY }}'}"
    ),
    "in a file that is read": "task: read_file, inputs: {path: '{{ start_dir }}/canary.txt', allow_outside: true}",
    "in a path": "task: read_file, inputs: {path: '{{ secrets.CANARY }}'}",
    "printed with all names": "task: print_vars",
    "in items": "task: echo, for_each: ['{{ secrets.CANARY }}', b], inputs: {message: '{{ item }}'}",
    "in a list that is none": "task: echo, for_each: '{{ secrets.CANARY }}', inputs: {message: '{{ item }}'}",
    "in failing items": "task: fail, for_each: ['{{ secrets.CANARY }}'], inputs: {message: '{{ item }}'}",
    "as a signal": "task: wait_signal, timeout: 1ms, inputs: {signal: '{{ secrets.CANARY }}'}",
    "after a long line": (
        "task: python_code, inputs: {code: 'import os, sys; "
        "sys.stderr.write(\"x\" * 16380 + os.environ[\"CANARY\"] + \"y\" * 99)'}"
    ),
    "at the cut of an output": (
        "task: shell, inputs: {max_output: 2000, command: "
        "'head -c 993 /dev/zero | tr \"\\0\" x; printf %s \"$CANARY\"; head -c 5000 /dev/zero | tr \"\\0\" y'}"
    ),
    "at the cut of a message": (
        "task: python_code, inputs: {code: 'import os; raise ValueError(\"x\" * 1993 + os.environ[\"CANARY\"])'}"
    ),
}  # fmt: skip


@pytest.mark.parametrize("step", LEAKS.values(), ids=LEAKS)
def test_a_canary_is_found_nowhere(step: str, runs: Runs) -> None:
    """Neither in the store, nor in the log, nor in what any command prints, nor in an export."""
    escaped = step.replace("\n", "\\n").replace("'", "''") if "\n" in step else None
    (runs.folder / "canary.txt").write_text(f"a\n{CANARY}\n")
    text = f"- {{name: leak, on_error: continue, {step}}}" if "on_error" not in step else f"- {{name: leak, {step}}}"
    if escaped is not None:
        text = text.replace("\n", "\n  ")

    ended = runs.run(text, top=TOP)
    (runs.folder / "canary.txt").unlink()

    assert ended.code == 0, ended
    told = ended.out + ended.err + stored(runs)
    assert "***" in told
    assert_not_in(told)
    assert step_of(runs)["redacted"]
    assert "secrets were cut out of what is recorded and logged of leak" in told


def step_of(runs: Runs, name: str = "leak") -> dict[str, Any]:
    """What is recorded of a step."""
    steps: list[dict[str, Any]] = runs.state()["steps"]
    (found,) = [step for step in steps if step["name"] == name]
    return found


def test_a_step_that_says_nothing_of_a_secret_is_not_said_to(runs: Runs) -> None:
    """In a run that has some: only what was cut says so, and each step for itself."""
    runs.results(
        """
        - {name: says, task: shell, inputs: {command: 'echo "$CANARY" >&2'}}
        - {name: uses, task: shell, inputs: {command: 'printf %s "$CANARY" | wc -c'}}
        - {name: items, task: shell, for_each: [x, CANARY], inputs: {command: 'printenv {{ item }} || true'}}
        - {name: others, task: echo, for_each: [x, y], inputs: {message: "{{ item }}"}}
        - name: rounds
          task: shell
          inputs: {command: 'echo x >> n; printenv CANARY; wc -l < n'}
          repeat: {until: "result.stdout.splitlines() | last | int == 2", interval: 1ms}
        - {name: none, task: echo, inputs: {message: "{{ steps.says.status }} ***"}}
        """,
        top=TOP,
    )

    redacted = {step["name"] for step in runs.state()["steps"] if step["redacted"]}
    assert redacted == {"says", "items", "items[1]", "rounds", "rounds#3"}
    assert "redacted: secrets were cut out" in runs.flujoctl("inspect", "r", "--step", "says").out
    assert "redacted: " not in runs.flujoctl("inspect", "r", "--step", "none").out


def test_what_was_cut_is_told_in_events_and_exports_and_survives_an_import(runs: Runs) -> None:
    """By the event of the outcome; of a failed attempt too, until the step begins anew."""
    runs.run(
        """
        - name: leak
          task: shell
          retry: {max_attempts: 2, delay: 1ms}
          inputs: {command: 'test -e n || printenv CANARY; echo x >> n; test $(wc -l < n) = 2'}
        - {name: fails, task: shell, inputs: {command: 'printenv CANARY; exit 1'}}
        """,
        top=TOP,
    )

    events = [json.loads(line) for line in runs.flujoctl("events", "r", "-o", "jsonl").out.splitlines()]
    told = {(event["type"], event["step"], event["redacted"]) for event in events if "redacted" in event}
    (runs.folder / "run.json").write_text(runs.flujoctl("export", "r").out)
    runs.flujoctl("delete", "r", "--yes")
    runs.flujoctl("import", "run.json")

    assert told == {("attempt_failed", "leak", True), ("step_completed", "leak", False), ("step_failed", "fails", True)}
    assert [step["redacted"] for step in runs.state()["steps"]] == [True, True]


def test_a_long_secret_is_not_shown_in_part(runs: Runs, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither where a value is cut that is printed, nor where a message is."""
    lines = [f"{number:04}-{'abcdefghij' * 5}" for number in range(60)]
    monkeypatch.setenv("CANARY", "\n".join(lines))
    runs.run(
        """
        - {name: vars, task: print_vars}
        - {name: said, task: fail, inputs: {message: "{{ secrets.CANARY }}"}, on_error: continue}
        - {name: json, task: fail, inputs: {message: "{{ secrets.CANARY | tojson }}"}}
        """,
        top=TOP,
    )

    told = stored(runs)
    assert "***" in told
    assert "abcdefgh" not in told


def test_the_search_for_a_canary_finds_one(runs: Runs) -> None:
    """Which is no secret: the tests above could find it."""
    runs.run("- {name: leak, task: shell, inputs: {command: 'echo \"$CANARY\"'}}")

    with pytest.raises(AssertionError):
        assert_not_in(stored(runs))


def test_a_canary_in_a_request_is_found_nowhere(server: LocalServer, runs: Runs) -> None:
    """Sent in headers, in a URL and in a body, to a server that refuses it and says it back; where it fails there."""
    said = f"no {CANARY} {quote(CANARY)} ".encode() + base64.b64encode(b"u:" + CANARY.encode())
    server.answer("/a", Reply(401, said, (("X-Said", quote(CANARY)),)))
    runs.results(
        f"""
        - name: header
          task: http.request
          on_error: continue
          inputs:
            url: "{server.url}/a?key={{{{ secrets.CANARY | urlencode }}}}"
            headers: {{X-Key: "{{{{ secrets.CANARY }}}}"}}
        - name: body
          task: http.request
          inputs:
            url: "{server.url}/a"
            check: false
            json: {{a: "{{{{ secrets.CANARY }}}}"}}
            token: "{{{{ env.CANARY }}}}"
        - name: basic
          task: http.request
          on_error: continue
          inputs: {{url: "{server.url}/a", auth: {{type: basic, username: u, password: "{{{{ secrets.CANARY }}}}"}}}}
        - name: broken
          task: http.request
          on_error: continue
          inputs: {{url: "{server.url}/a", headers: {{X-Key: "{{{{ secrets.CANARY }}}}\\n"}}}}
        - name: nowhere
          task: http.request
          on_error: continue
          inputs: {{url: "http://u:{{{{ secrets.CANARY | urlencode }}}}@127.0.0.1:1/"}}
        """,
        top=TOP,
    )

    sent = server.seen[1]
    assert json.loads(sent.body) == {"a": CANARY}
    assert_not_in(stored(runs))
    assert "***" in runs.state()["step_outputs"]["body"]["result"]["body"]


NOTIFIED = {
    "by a web hook": (0, "channel: webhook, url: URL/ok, message: 'hi {{ secrets.CANARY }}'"),
    "in headers": (
        0,
        "channel: webhook, url: URL/ok, "
        "headers: {X-Key: '{{ secrets.CANARY | urlencode }}', X-Other: 'a {{ env.CANARY | b64encode }}'}",
    ),
    "in a URL and a payload that are refused": (
        1,
        "channel: webhook, url: 'URL/no?key={{ secrets.CANARY | urlencode }}', "
        "payload: {'{{ secrets.CANARY }}': ['{{ secrets.CANARY }}']}",
    ),
    "in headers that are refused": (
        1,
        "channel: webhook, url: URL/no, headers: {X-Key: '{{ secrets.CANARY | b64encode }}'}",
    ),
    "in a header that cannot be sent": (
        1,
        'channel: webhook, url: URL/ok, headers: {X-Key: "{{ secrets.CANARY }}\\n"}',
    ),
    "as the name of a header": (1, "channel: webhook, url: URL/ok, headers: {'{{ secrets.CANARY }}': x}"),
    "as a method": (1, "channel: webhook, url: URL/ok, method: '{{ secrets.CANARY }}'"),
    "in a URL that leads nowhere": (
        1,
        "channel: webhook, url: 'http://u:{{ secrets.CANARY | urlencode }}@127.0.0.1:1/'",
    ),
    "as a URL": (1, "channel: webhook, url: '{{ secrets.CANARY }}'"),
    "as a host": (1, "channel: webhook, url: 'http://{{ secrets.CANARY }}.invalid/'"),
    "over a redirect": (1, "channel: webhook, url: URL/moved, message: '{{ secrets.CANARY }}'"),
    "by Slack": (0, "channel: slack, webhook_url: URL/ok, color: red, message: '{{ secrets.CANARY }}'"),
    "by a Slack that refuses": (
        1,
        "channel: slack, webhook_url: 'URL/no?{{ secrets.CANARY | urlencode }}', username: '{{ secrets.CANARY }}'",
    ),
    "by the log": (0, "channel: log, level: warning, message: 'hi {{ secrets.CANARY }}'"),
    "as a level": (1, "channel: log, level: '{{ secrets.CANARY }}', message: x"),
    "as a channel": (1, "channel: '{{ secrets.CANARY }}', message: x"),
    "as a file that is outside": (1, "channel: file, file: '/{{ secrets.CANARY }}', message: x"),
    "by a file": (0, "channel: file, file: told, message: 'hi {{ secrets.CANARY }}'"),
}


@pytest.mark.parametrize(("code", "inputs"), NOTIFIED.values(), ids=NOTIFIED)
def test_a_canary_that_is_told_to_somebody_is_found_nowhere(
    server: LocalServer, code: int, inputs: str, runs: Runs
) -> None:
    """By `notify`, through each channel, where it arrives and where it fails, twice."""
    said = f"no {CANARY} {quote(CANARY)} ".encode() + base64.b64encode(b"u:" + CANARY.encode())
    server.answer("/no", Reply(403, said, (("X-Said", quote(CANARY)),)))
    server.answer("/moved", Reply(302, said, (("Location", f"http://127.0.0.1:1/{quote(CANARY)}"),)))
    server.answer("/ok", Reply(200, said))
    text = inputs.replace("URL", server.url)

    ended = runs.run(
        f"- {{name: tell, task: notify, retry: {{max_attempts: 2, delay: 1ms}}, inputs: {{{text}}}}}", top=TOP
    )

    assert ended.code == code, ended
    for written in runs.folder.glob(".flujo/workspaces/*/told"):  # it is the author's own
        assert CANARY in json.loads(written.read_text())["message"]
        written.unlink()
    printed = [runs.flujoctl("run", "flow.yaml", "--dry-run"), runs.flujoctl("validate", "flow.yaml"), ended]
    assert_not_in("".join(each.out + each.err for each in printed) + stored(runs))


def test_a_secret_that_is_told_to_somebody_arrives(server: LocalServer, runs: Runs) -> None:
    """It is kept out of what is stored, and not out of what is sent."""
    server.answer("/", Reply(200))
    runs.results(
        f"""
        - name: hook
          task: notify
          inputs: {{channel: webhook, url: "{server.url}/", message: "{{{{ secrets.CANARY }}}}",
                    headers: {{X-Key: "{{{{ secrets.CANARY | urlencode }}}}"}}}}
        - name: slack
          task: notify
          inputs: {{channel: slack, webhook_url: "{server.url}/", message: "{{{{ secrets.CANARY }}}}"}}
        """,
        top=TOP,
    )

    assert [json.loads(request.body) for request in server.seen] == [{"text": CANARY}, {"text": CANARY}]
    assert server.seen[0].headers["x-key"] == quote(CANARY, safe="/")


def test_a_child_is_handed_no_secret_and_keeps_those_of_its_parent_out(runs: Runs) -> None:
    """In its inputs, which are stored, it finds a mask; what it prints of its environment is masked as well."""
    (runs.folder / "child.yaml").write_text(
        "name: child\nparams: {key: {}}\noutputs: {said: '{{ steps.a.result.stdout }}', key: '{{ key }}'}\n"
        "steps: [{name: a, task: shell, inputs: {command: 'echo \"$CANARY\"'}}]\n"
    )
    results = runs.results(
        """
        - name: call
          task: workflow
          inputs: {file: child.yaml, inputs: {key: "{{ secrets.CANARY }}"}, labels: {key: "{{ secrets.CANARY }}"}}
        """,
        top=TOP,
    )

    assert results["call"] == {"said": "***\n", "key": "***"}
    assert_not_in(stored(runs, "r", "r.call"))


def test_outputs_of_a_run_are_masked(runs: Runs) -> None:
    """Whole ones and parts of a text; one that fails as well."""
    ended = runs.run(
        "- {name: a, task: noop}", "-o", "json", top=f"{TOP}\noutputs: {{a: ['{{{{ secrets.CANARY }}}}!']}}"
    )
    failed = runs.flujoctl("delete", "r", "--yes") and runs.run(
        "- {name: a, task: noop}", top=f"{TOP}\noutputs: {{a: '{{{{ secrets.CANARY | fromjson }}}}'}}"
    )

    assert json.loads(ended.out)["output"] == {"a": ["***!"]}
    assert failed.code == 1
    assert_not_in(ended.out + failed.err + stored(runs))


def test_tasks_see_the_value(runs: Runs, tmp_path_factory: pytest.TempPathFactory) -> None:
    """In templates under both names, and in the environment of commands."""
    place = tmp_path_factory.mktemp("seen")
    runs.results(
        f"""
        - name: template
          task: write_file
          inputs: {{path: {place}/a, allow_outside: true, content: "{{{{ secrets.CANARY }}}}|{{{{ env.CANARY }}}}"}}
        - {{name: command, task: shell, inputs: {{command: 'printf %s "$CANARY" > {place}/b'}}}}
        """,
        top=TOP,
    )

    assert (place / "a").read_text() == f"{CANARY}|{CANARY}"
    assert (place / "b").read_text() == CANARY


def test_a_secret_is_read_again_by_each_life_of_a_run(
    runs: Runs, monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """A resume works with the value of its own day, and masks it."""
    place = tmp_path_factory.mktemp("seen")
    command = f'printf %s "$CANARY" > {place}/a; echo "$CANARY"; test -e {place}/go'
    failed = runs.run(f"- {{name: a, task: shell, inputs: {{command: '{command}'}}}}", top=TOP)
    monkeypatch.setenv("CANARY", "another-value-of-it")
    (place / "go").write_text("")

    ended = runs.flujoctl("resume", "r")

    assert (failed.code, ended.code) == (1, 0)
    assert (place / "a").read_text() == "another-value-of-it"
    assert "another-value" not in stored(runs)


def test_a_resume_without_the_secret_says_what_to_set(runs: Runs, monkeypatch: pytest.MonkeyPatch) -> None:
    """And the next one with it goes on."""
    steps = '- {name: a, task: shell, inputs: {command: "test -e ../../../go"}}'
    runs.run(steps, top=TOP)
    monkeypatch.delenv("CANARY")
    (runs.folder / "go").write_text("")

    without = runs.flujoctl("resume", "r")
    message = runs.state()["error"]["message"]
    monkeypatch.setenv("CANARY", CANARY)

    assert without.code == 1
    assert message == "the secret CANARY is not set in the environment; set it where flujo runs, and resume"
    assert runs.flujoctl("resume", "r").code == 0


@pytest.mark.parametrize(
    ("value", "told"),
    [
        (None, "secrets.CANARY is not set in the environment"),
        ("1234567", "secrets.CANARY has fewer than 8 characters, and cannot be kept out of what is stored"),
        ("   1234   ", "secrets.CANARY has fewer than 8 characters"),
    ],
)
def test_a_secret_that_is_none_is_refused_before_the_first_step(
    value: str | None, told: str, runs: Runs, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No run is begun."""
    monkeypatch.delenv("CANARY")
    if value is not None:
        monkeypatch.setenv("CANARY", value)

    err = runs.refusal("- {name: a, task: noop}", top=TOP)

    assert told in err.replace(": ", " ")
    assert "1234" not in err
    assert runs.flujoctl("list", "-o", "name").out == ""


def test_an_input_that_holds_a_secret_is_refused(runs: Runs) -> None:
    """It would be stored; the refusal does not repeat it."""
    err = runs.refusal(
        "- {name: a, task: noop}",
        f"key=x{CANARY}",
        f"n={CANARY}",
        top=f"{TOP}\nparams: {{key: {{}}, n: {{type: integer}}}}",
    )

    assert "holds the value of a secret, and inputs are stored" in err
    assert_not_in(err)


@pytest.mark.parametrize(
    ("top", "step", "told"),
    [
        ("secrets: {A: b}", "task: noop", "2:10: `secrets` lists names of environment variables, not a mapping"),
        ("secrets: [A-B]", "task: noop", "2:11: `secrets` lists names of environment variables, not the text"),
        ("secrets: [A, A]", "task: noop", "2:14: `A` is here twice"),
        (TOP, "task: echo, inputs: {message: '{{ secrets.OTHER }}'}", "write `secrets: [CANARY, OTHER]` at the top"),
        ("", "task: echo, inputs: {message: '{{ secrets.OTHER }}'}", "write `secrets: [OTHER]` at the top"),
    ],
)
def test_what_is_wrong_about_secrets_is_told_with_its_place(top: str, step: str, told: str, runs: Runs) -> None:
    """Before anything runs."""
    assert told in runs.refusal(f"- {{name: a, {step}}}", top=top)


def test_the_page_about_secrets_says_what_happens(runs: Runs, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its definition runs, and says what its comment tells."""
    (text,) = [text for _, text in blocks() if text.startswith("name: with a secret\n")]
    monkeypatch.setenv("API_TOKEN", "a-token-of-some-length")
    (runs.folder / "page.yaml").write_text(text)

    assert runs.flujoctl("run", "page.yaml", "--id", "r").code == 0
    assert runs.state()["step_outputs"]["say"]["result"] == "it said ***\n"


def test_one_name_is_a_list_of_one(runs: Runs) -> None:
    """As everywhere."""
    assert runs.results(
        "- {name: a, task: echo, inputs: {message: '{{ secrets.CANARY }}'}}", top="secrets: CANARY"
    ) == {"a": "***"}


def test_a_run_on_a_terminal_shows_no_secret(runs: Runs) -> None:
    """In a process of its own, verbosely."""
    (runs.folder / "flow.yaml").write_text(
        f"name: flow\n{TOP}\nsteps:\n"
        '  - {name: a, task: shell, inputs: {command: \'echo "$CANARY"; echo "$CANARY" >&2; exit 1\'}}\n'
    )

    ended = subprocess.run(
        [sys.executable, "-m", "flujoctl", "run", "-v", "flow.yaml"], capture_output=True, text=True, env={**os.environ}
    )

    assert ended.returncode == 1
    assert "***" in ended.stderr
    assert_not_in(ended.stdout + ended.stderr)


@pytest.mark.parametrize(
    ("variables", "found"),
    [
        ({"PGPASSWORD": "long-enough"}, {"PGPASSWORD": "long-enough"}),
        ({"FLUJO_STORE": "postgresql://ann:p%40ss-word@host/db"}, {"FLUJO_STORE": "p@ss-word"}),
        ({"FLUJO_STORE": "postgresql://ann@host/db"}, {}),
        ({"FLUJO_STORE": "sqlite:a@b:c.db"}, {}),
        ({"FLUJO_STORE": "postgresql://[ann:long-enough@host/db"}, {}),
        ({"PGPASSWORD": "short"}, {}),
        ({"PGPASSWORD": ""}, {}),
        ({}, {}),
    ],
)
def test_passwords_of_stores_are_found(variables: dict[str, str], found: dict[str, str]) -> None:
    """Where a kernel takes them from, and long enough to be told from other texts."""
    assert passwords_of_stores(variables) == found
    assert Secrets((), environment=variables).are_any is bool(found)
    assert all(value not in Secrets((), environment=variables).redactor.text(value) for value in found.values())
