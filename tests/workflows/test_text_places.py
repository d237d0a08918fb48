"""Every place where a value becomes text, as the code declares them: one that is new fails here until it is read back.

What is read back in each is the text of texts.py: JSON of anything but a text.
"""

from __future__ import annotations

import base64
import json
import sys
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import parse_qs

import pytest

from flujo.kernel.errors import DefinitionError, FlujoError
from flujo.kernel.execution.current_attempt import Attempt
from flujo.kernel.execution.subprocesses import Children
from flujo.workflows.child_workflows import child_start, load_nothing
from flujo.workflows.definition_keys import LOOP_KEYS, ON_ERROR_KEYS, REPEAT_KEYS, RETRY_KEYS, STEP_KEYS, TOP_KEYS
from flujo.workflows.definition_reader import TAKEN_AS_WRITTEN, read_definition
from flujo.workflows.expressions import placed_sandbox
from flujo.workflows.parameters import Parameter
from flujo.workflows.registry import BUILT_IN, TaskCall, TaskInputError, Tasks
from flujo.workflows.runlog import StepLog
from flujo.workflows.tasks.http_exchange import Request
from flujo.workflows.tasks.http_request import _request
from flujo.workflows.templates import render
from flujo.workflows.texts import as_text

from .scripted import environment_in, report_nothing, without_times
from .tasks.conftest import Runs
from .tasks.conftest import flujoctl as flujoctl
from .tasks.conftest import folder as folder
from .tasks.conftest import runs as runs
from .tasks.local_server import LocalServer, Reply, serving

ONE_TEXT = [False, True, 5, 1.0, 1e22, -0.0, 2**53 + 1, "a b", "ä'\"", "true"]
"""Values that are one text each."""
OTHERS: list[Any] = [["a b", None], {"k": [False, "'"]}, []]

# -- filters ----------------------------------------------------------------------------------------------------------

OF_VALUES = {
    *("__rounds", "__spread", "abs", "attr", "batch", "bool", "count", "d", "datetime", "default", "dictsort"),
    *("filesizeformat", "first", "float", "from_json", "fromjson", "groupby", "int", "items", "join", "last", "length"),
    *("list", "map", "max", "min", "reject", "rejectattr", "reverse", "round", "select", "selectattr", "slice", "sort"),
    *("strftime", "sum", "to_json", "tojson", "unique"),
}
"""Filters that are about the value and not about its text; of `join` it is that of the items."""

CALLED = {
    "regex_findall": "regex_findall('a')",
    "regex_replace": "regex_replace('a', 'b')",
    "regex_search": "regex_search('a')",
    "replace": "replace('a', 'b')",
}
"""How filters are called that need something."""


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
@pytest.mark.parametrize("name", sorted({*placed_sandbox().filters} - OF_VALUES))
async def test_a_filter_makes_of_a_value_what_it_makes_of_its_text(name: str) -> None:
    """Every filter that there is."""
    for value in (*ONE_TEXT, *OTHERS, None):
        if name == "urlencode" and isinstance(value, (dict, list)):
            continue  # it makes a query of a mapping
        text = as_text(value)
        names = {"v": value, "t": text}
        if name == "b64decode":
            names = {"v": value, "t": base64.b64encode(text.encode()).decode()}
            assert await render("{{ v | b64encode | b64decode }}{{ t | b64decode }}", names) == text * 2
        else:
            templates = [f"{{{{ {each} | {CALLED.get(name, name)} }}}}" for each in "vt"]
            from_value, from_text = await render(templates, names)
            assert from_value == from_text


# -- inputs of tasks --------------------------------------------------------------------------------------------------


class Bench(NamedTuple):
    """Where tasks are called."""

    children: Children
    folder: Path
    server: LocalServer

    def call(self, name: str, inputs: dict[str, Any]) -> TaskCall:
        """A call of a task."""
        task = Tasks().find(name)
        assert task is not None
        attempt = Attempt("run-1", "uid-1", "s", 1, 1, self.children, report_nothing)
        log = StepLog(self.folder / "log", "s", 1)
        return TaskCall(task.checked(inputs), self.folder, attempt, environment_in(self.folder, workflow_name="w"), log)

    async def result(self, name: str, **inputs: Any) -> Any:
        """What a task returns."""
        task = Tasks().find(name)
        assert task is not None
        return await task.run(self.call(name, inputs))

    async def logged(self, name: str, **inputs: Any) -> str:
        """The first line that a task writes to the log."""
        (self.folder / "log").unlink(missing_ok=True)
        await self.result(name, **inputs)
        line = without_times((self.folder / "log").read_text(encoding="utf-8")).splitlines()[0]
        return line.removeprefix("s.1| ")

    def sent(self, **inputs: Any) -> Request:
        """What `http.request` sends."""
        call = self.call("http.request", {"url": "http://localhost/", **inputs})
        return _request(call, call.inputs, None)

    async def printed(self, name: str, **inputs: Any) -> list[str]:
        """The arguments of a program, or else its variables V0, V1, and so on."""
        program = (
            "import json, os, sys\n"
            "found = sys.argv[1:] or [os.environ[f'V{n}'] for n in range(50) if f'V{n}' in os.environ]\n"
            "print(json.dumps(found))"
        )
        (self.folder / "printing.py").write_text(program, encoding="utf-8")
        found: list[str] = json.loads((await self.result(name, **inputs))["stdout"])
        return found


def _variables(values: list[Any]) -> dict[str, Any]:
    return {f"V{number}": value for number, value in enumerate(values)}


def _one_by_one(read: Callable[[Bench, Any], Awaitable[str]]) -> Callable[[Bench, list[Any]], Awaitable[list[str]]]:
    async def read_each(bench: Bench, values: list[Any]) -> list[str]:
        return [await read(bench, value) for value in values]

    return read_each


async def _from_file(bench: Bench, name: str, **inputs: Any) -> str:
    (bench.folder / "f").unlink(missing_ok=True)
    await bench.result(name, **inputs)
    return (bench.folder / "f").read_text(encoding="utf-8")


async def _failure(bench: Bench, value: Any) -> str:
    try:
        await bench.result("fail", message=value)
    except FlujoError as error:
        return error.message
    raise AssertionError(value)


async def _label(bench: Bench, value: Any) -> str:
    text = "name: w\nsteps:\n- {name: s, task: workflow, inputs: {workflow: x}}\n"
    found = read_definition(text, "w.yaml", Tasks()).steps[0]._replace(inputs={"workflow": "x", "labels": {"a": value}})
    return (await child_start(found, environment_in(bench.folder), load_nothing)).labels["a"]


async def _from_header(bench: Bench, value: Any) -> str:
    bench.server.answer("/n", Reply())
    await bench.result("notify", channel="webhook", url=f"{bench.server.url}/n", headers={"X-V": value})
    return bench.server.seen[-1].headers["x-v"].encode("latin-1").decode("utf-8")


async def _in_command(bench: Bench, values: list[Any]) -> list[str]:
    return await bench.printed("shell", command=[sys.executable, str(bench.folder / "printing.py"), *values])


async def _in_shell_env(bench: Bench, values: list[Any]) -> list[str]:
    return await bench.printed(
        "shell", command=[sys.executable, str(bench.folder / "printing.py")], env=_variables(values)
    )


async def _in_script_args(bench: Bench, values: list[Any]) -> list[str]:
    return await bench.printed("python_script", script_path="printing.py", args=values, allow_outside=True)


async def _in_script_env(bench: Bench, values: list[Any]) -> list[str]:
    return await bench.printed("python_script", script_path="printing.py", env=_variables(values), allow_outside=True)


async def _in_module_args(bench: Bench, values: list[Any]) -> list[str]:
    return await bench.printed("python_module", module="printing", args=values)


async def _in_module_env(bench: Bench, values: list[Any]) -> list[str]:
    return await bench.printed("python_module", module="printing", env=_variables(values))


async def _in_strings(bench: Bench, values: list[Any]) -> list[str]:
    text: str = await bench.result("join_strings", strings=values, separator="\0")
    return text.split("\0")


async def _in_query(bench: Bench, value: Any) -> str:
    return str(bench.sent(params={"p": value}).url.params["p"])


async def _in_headers(bench: Bench, value: Any) -> str:
    return bench.sent(headers={"X-V": value}).headers["X-V"]


async def _in_form(bench: Bench, value: Any) -> str:
    return parse_qs((bench.sent(data={"f": value}).body or b"").decode(), keep_blank_values=True)["f"][0]


async def _in_body(bench: Bench, value: Any) -> str:
    return (bench.sent(body=value).body or b"").decode()


async def _in_auth(bench: Bench, value: Any) -> str:
    user, _, password = (
        base64.b64decode(
            bench.sent(auth={"type": "basic", "username": value, "password": value}).headers["Authorization"].split()[1]
        )
        .decode()
        .partition(":")
    )
    bearer = bench.sent(auth={"type": "bearer", "token": value}).headers["Authorization"]
    key = bench.sent(auth={"type": "api_key", "key": value}).headers["X-API-Key"]
    assert user == password == key == bearer.removeprefix("Bearer ")
    return key


async def _in_stdin(bench: Bench, value: Any) -> str:
    return str((await bench.result("shell", command="cat", stdin=value))["stdout"])


async def _in_notice(bench: Bench, value: Any) -> str:
    return (await bench.logged("notify", channel="log", message=value)).removeprefix("info: ")


async def _in_variables(bench: Bench, value: Any) -> str:
    return (await bench.logged("print_vars", message=value)).removeprefix("--- ").removesuffix(" ---")


READ: dict[str, Callable[[Bench, list[Any]], Awaitable[list[str]]]] = {
    "append_file.content": _one_by_one(lambda bench, value: _from_file(bench, "append_file", path="f", content=value)),
    "echo.message": _one_by_one(lambda bench, value: bench.logged("echo", message=value)),
    "fail.message": _one_by_one(_failure),
    "http.request.auth": _one_by_one(_in_auth),
    "http.request.body": _one_by_one(_in_body),
    "http.request.data": _one_by_one(_in_form),
    "http.request.headers": _one_by_one(_in_headers),
    "http.request.params": _one_by_one(_in_query),
    "join_strings.strings": _in_strings,
    "notify.headers": _one_by_one(_from_header),
    "notify.message": _one_by_one(_in_notice),
    "print_message.message": _one_by_one(lambda bench, value: bench.logged("print_message", message=value)),
    "print_vars.message": _one_by_one(_in_variables),
    "python_module.args": _in_module_args,
    "python_module.env": _in_module_env,
    "python_script.args": _in_script_args,
    "python_script.env": _in_script_env,
    "shell.command": _in_command,
    "shell.env": _in_shell_env,
    "shell.stdin": _one_by_one(_in_stdin),
    "template.template": _one_by_one(lambda bench, value: bench.result("template", template=value)),
    "workflow.labels": _one_by_one(_label),
    "write_file.content": _one_by_one(lambda bench, value: _from_file(bench, "write_file", path="f", content=value)),
}
"""Inputs that take any value, or hold some, and make text of it: how that is read back."""

OF_ONE_TEXT = {
    *("http.request.auth", "shell.command", "shell.env", "python_script.args", "python_script.env"),
    *("python_module.args", "python_module.env"),
}
"""Those of them that refuse a list, a mapping and null: two arguments are not made one without a word."""

SEVERAL = {"http.request.params", "http.request.data"}
"""Those in which a list stands for several texts."""

DATA = {
    *("batch.items", "batch.task", "http.request.json", "http.request.ok_status", "notify.payload"),
    *("python_function.args", "python_function.kwargs", "shell.ok_codes", "shell.shell", "workflow.inputs"),
    *("write_json.data", "write_yaml.data"),
}
"""Inputs whose values stay what they are."""


def _declared(of: Callable[[Parameter], bool]) -> Iterator[tuple[str, str]]:
    for name in BUILT_IN:
        task = Tasks().find(name)
        assert task is not None
        yield from ((name, each.name) for each in task.inputs if of(each))


def _is_one_text(declared: Parameter) -> bool:
    return declared.types == ("string",)


def _takes_more(declared: Parameter) -> bool:
    """True for an input that may hold a text besides others."""
    return (
        not _is_one_text(declared)
        and (not declared.types or {"object", "array"} & {*declared.types} or "string" in declared.types)
        and declared.format != "duration"
    )


def test_every_input_that_may_hold_a_text_is_read_back() -> None:
    """A new one has to be looked at."""
    assert {f"{task}.{name}" for task, name in _declared(_takes_more)} == READ.keys() | DATA
    assert not READ.keys() & DATA


@pytest.fixture
def bench(children: Children, tmp_path: Path) -> Iterator[Bench]:
    with serving() as server:
        yield Bench(children, tmp_path, server)


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
@pytest.mark.parametrize("place", READ)
async def test_an_input_holds_the_text_of_any_value(place: str, bench: Bench) -> None:
    """Of every task that there is; and null and lists are refused where one text belongs."""
    values = [*ONE_TEXT, *([] if place in OF_ONE_TEXT | SEVERAL else OTHERS)]

    assert await READ[place](bench, values) == [as_text(value) for value in values]
    for value in (*OTHERS, None) if place in OF_ONE_TEXT else ():
        with pytest.raises((TypeError, ValueError), match=r"text"):
            await READ[place](bench, [value])


@pytest.mark.parametrize(("task", "name"), [*_declared(_is_one_text)])
def test_an_input_that_is_a_text_takes_numbers_and_booleans_as_text(task: str, name: str) -> None:
    """Paths, URLs and names: `{{ args.day }}` alone is the text that it is beside other text."""
    found = Tasks().find(task)
    assert found is not None
    declared = found.input(name)
    assert declared is not None

    for value in ONE_TEXT:
        assert declared.as_rendered(value) == as_text(value)
    for value in (*OTHERS, None):
        with pytest.raises(TaskInputError, match=f"`{name}` must be a string, not .*; (give it|make one)"):
            found.checked({name: value})


# -- keys of a definition ---------------------------------------------------------------------------------------------

HELD = {
    "env": {"A": "?"},
    "outputs": {"a": "?"},
    "inputs": {"message": "?"},
    "params": {"message": "?"},
    "labels": {"a": "?"},
    "settings": {"a": "?"},
    "env_files": ["?"],
    "retry": dict.fromkeys(RETRY_KEYS, "?"),
    "defaults": {"on_error": {"action": "continue", "message": "?"}},
}
"""How keys hold a text that cannot be one; `?` stands for it."""

TEMPLATES = {
    *("env", "outputs", "defaults"),
    *(f"step.{key}" for key in ("inputs", "params", "condition", "for_each", "env", "outputs")),
    *("repeat.until", "on_error.message", "for_each.items"),
    *("for_each.chunk_size", "for_each.max_workers"),
}
"""Keys whose texts are templates. Conditions, and what loops have, are no texts when they are rendered; all others are
read back below."""


def _document(place: str, key: str) -> dict[str, Any]:
    held = json.loads(json.dumps(HELD.get(key, "?")).replace("?", "{{ nobody }}"))
    step: dict[str, Any] = {"name": "s", "task": "shell", "inputs": {"command": "true"}}
    top: dict[str, Any] = {"name": "w", "steps": [step]}
    match place:
        case "":
            top[key] = held
        case "step":
            step[key] = held
        case "for_each":
            step[place] = {"items": [1], key: held}
        case _:
            step[place] = {"until": "true", key: held} if place == "repeat" else {"action": "continue", key: held}
    return top


def _refusals(document: dict[str, Any]) -> list[str]:
    try:
        read_definition(json.dumps(document), "w.yaml", Tasks())
    except DefinitionError as error:
        return [problem.message for problem in error.problems]
    return []


def test_every_key_whose_text_is_a_template_is_known_here() -> None:
    """A name that there is not is met in those, and in no others."""
    keys = {
        "": [key for key in TOP_KEYS if key not in ("params", "steps", "imports", "flows")],
        "step": [key for key in STEP_KEYS if key != "retry"],
        "repeat": REPEAT_KEYS,
        "on_error": [key for key in ON_ERROR_KEYS if key not in ("next", "retry", "delay")],
        "for_each": [key for key in LOOP_KEYS if key != "arg_name"],
    }
    found = {
        f"{place}.{key}".removeprefix(".")
        for place, all_keys in keys.items()
        for key in all_keys
        if any("there is no name `nobody`" in problem for problem in _refusals(_document(place, key)))
    }

    assert found == TEMPLATES


@pytest.mark.parametrize("key", [*TAKEN_AS_WRITTEN, "params"])
def test_a_template_where_none_is_rendered_is_refused(key: str) -> None:
    """A run would go on with its braces; those that mention nothing of a run are meant for others."""
    held = {"params": {"a": "?"}, "env_files": ["?"]}.get(key, {"a": "?"})
    for text, is_refused in (
        ("{{ env.HOME }}", True),
        ("x{{ args.a }}", True),
        ("{{.Names}}", False),
        ("{{ x }}", False),
    ):
        top = {
            "name": "w",
            "steps": [{"name": "s", "task": "noop"}],
            key: json.loads(json.dumps(held).replace("?", text)),
        }
        found = [problem for problem in _refusals(top) if "and no template is rendered in it; " in problem]

        assert (text, len(found)) == (text, is_refused)


def test_the_keys_of_a_definition_hold_the_text_of_any_value(runs: Runs) -> None:
    """Variables, outputs and messages, through the command line."""
    top = f"params: {json.dumps({'v': {'default': [*ONE_TEXT, *OTHERS, None]}})}\n"
    top += "env: " + json.dumps({f"V{n}": f"{{{{ args.v[{n}] }}}}" for n in range(len(ONE_TEXT))}) + "\n"
    count = len(ONE_TEXT) + len(OTHERS) + 1
    outputs = {f"o{n}": f"x{{{{ args.v[{n}] }}}}" for n in range(count)}
    outputs |= {f"m{n}": f"{{{{ steps.f{n}.error.message }}}}" for n in range(count)}
    top += f"outputs: {json.dumps(outputs)}"
    program = f"import json, os; print(json.dumps([os.environ[f'V{{n}}'] for n in range({len(ONE_TEXT)})]))"
    steps = [{"name": "see", "task": "shell", "inputs": {"command": [sys.executable, "-c", program]}}]
    for n in range(count):
        on_error = {"action": "continue", "message": f"{{{{ args.v[{n}] }}}}"}
        steps.append({"name": f"f{n}", "task": "fail", "on_error": on_error})

    ended = runs.run("\n".join(f"- {json.dumps(each)}" for each in steps), top=top)

    assert ended.code == 0, ended.err
    state = runs.state()
    texts = [as_text(value) for value in (*ONE_TEXT, *OTHERS, None)]
    assert json.loads(state["step_outputs"]["see"]["result"]["stdout"]) == texts[: len(ONE_TEXT)]
    assert [*state["output"].values()] == [*(f"x{text}" for text in texts), *texts]


def test_a_variable_that_is_no_text_fails_the_run_where_it_stands(runs: Runs) -> None:
    """As one of a step does."""
    runs.run("- {name: s, task: noop}", top='params: {z: {default: null}}\nenv: {A: "{{ args.z }}"}')

    told = "flow.yaml:3:11: `A` in `env` is null, not a text: null; give it a `default`"
    assert runs.state()["error"]["message"] == told
