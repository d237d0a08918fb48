"""The built-in tasks, on real files and processes."""

from __future__ import annotations

import os
import re
import socket
import sys
from pathlib import Path
from typing import Any

import anyio
import pytest

from flujo.kernel.execution.current_attempt import Attempt, Wait
from flujo.kernel.execution.subprocesses import Children
from flujo.kernel.journal.failures import describe, error_kinds, error_type
from flujo.workflows.registry import BUILT_IN, TaskCall, TaskInputError, Tasks
from flujo.workflows.runlog import StepLog
from flujo.workflows.seen import NotRun
from flujo.workflows.tasks import python_code
from flujo.workflows.tasks.files import MAX_READ_BYTES, NotAFileError, OutsideWorkspaceError, read_text
from flujo.workflows.tasks.messages import TaskFailed
from flujo.workflows.tasks.shell import ShellError
from flujo.workflows.templates import TemplateError, render
from workflows.scripted import environment_in, report_nothing, without_times


class Bench:
    """Calls tasks as the interpreter does, in a workspace of their own."""

    def __init__(self, children: Children, folder: Path) -> None:
        self.folder = folder
        self.workspace = folder / "workspace"
        self.workspace.mkdir()
        self.log_file = folder / "log"
        self.attempt = Attempt("run-1", "uid-1", "step", 1, 2, children, report_nothing)
        self.context: dict[str, Any] = {
            **environment_in(folder),
            "workspace": str(self.workspace),
            "args": {"day": "monday", "n": 3},
            "steps": {
                "a": {"result": [1, 2], "status": "completed", "attempt": 1, "error": None},
                "b": NotRun("b", "skipped"),
            },
        }

    async def call(self, name: str, **inputs: Any) -> Any:
        task = Tasks().find(name)
        assert task is not None
        log = StepLog(self.log_file, "step", 2)
        try:
            return await task.run(TaskCall(task.checked(inputs), self.workspace, self.attempt, self.context, log))
        finally:
            log.close()


@pytest.fixture
def bench(children: Children, tmp_path: Path) -> Bench:
    return Bench(children, tmp_path)


@pytest.mark.parametrize("name", BUILT_IN)
def test_every_built_in_task_is_where_the_table_says(name: str) -> None:
    """The table names the task's own name."""
    task = Tasks().find(name)

    assert task is not None
    assert task.name == name


# -- shell ------------------------------------------------------------------------------------------------------------


async def test_shell_runs_a_text_in_the_workspace(bench: Bench) -> None:
    """Output comes back as text, bytes that are none as replacement characters."""
    result = await bench.call("shell", command="pwd; cat; printf '\\377' >&2", stdin="in\n")

    assert result == {"return_code": 0, "stdout": f"{bench.workspace}\nin\n", "stderr": "\ufffd"}


async def test_shell_passes_a_list_on_as_it_is(bench: Bench) -> None:
    """No shell sees it; numbers and truth values become text."""
    result = await bench.call("shell", command=["printf", "%s|", "a b", "$HOME", "*", 5, True])

    assert result["stdout"] == "a b|$HOME|*|5|true|"


async def test_shell_takes_a_folder_and_variables(bench: Bench) -> None:
    """Besides those given, a child sees which run and attempt it works for."""
    (bench.workspace / "sub").mkdir()
    result = await bench.call(
        "shell",
        command='basename "$PWD"; echo "$MINE $FLUJO_RUN_ID $FLUJO_STEP $FLUJO_ATTEMPT $FLUJO_IDEMPOTENCY_KEY"',
        working_dir="sub",
        env={"MINE": 5},
    )

    assert result["stdout"] == "sub\n5 run-1 step 2 run-1/step@1\n"


@pytest.mark.parametrize(("detach", "told"), [(False, "found by its marks\n"), (True, "\n")])
async def test_shell_starts_what_lives_on_only_when_it_is_asked_to(bench: Bench, detach: bool, told: str) -> None:
    """With `detach` a command has none of the variables by which what it starts is found and ended."""
    command = 'echo "${FLUJO_COMMAND:+found by its}${FLUJO_RUN_UID:+ marks}"'

    assert (await bench.call("shell", command=command, detach=detach))["stdout"] == told


async def test_shell_fails_with_the_ends_of_what_it_printed(bench: Bench) -> None:
    """The message has the code, what the command said last on both outputs, where it ran, and where all of it is."""
    with pytest.raises(ShellError) as raised:
        await bench.call("shell", command="seq -f 'line %g' 12 >&2; seq 11; exit 3")

    assert str(raised.value) == (
        "the command ended with code 3: line 12\n"
        "the end of its stderr: " + "\n".join(f"line {number}" for number in range(3, 13)) + "\n"
        "the end of its stdout: " + "\n".join(f"{number}" for number in range(2, 12)) + "\n"
        f"(it ran in {bench.workspace}; what it printed: {bench.log_file})"
    )
    assert raised.value.return_code == 3
    assert error_type(raised.value) == "ShellError"


@pytest.mark.parametrize(
    ("said", "told"),
    [
        (
            'Traceback:\\n  File "x.py", line 1\\n    on_error()\\nValueError: no',
            "ValueError: no",
        ),
        ('Traceback:\\n  File "x.py", line 1\\nhelp.Needed: now', "help.Needed: now"),
        (
            "x.c: In main:\\nx.c:1:9: error: expected\\n    1 | int (\\n      |     ^",
            "x.c:1:9: error: expected",
        ),
        ("looking\\nno such table\\n^^^^", "no such table"),
        (
            "tar: x: Cannot stat: No such file\\ntar: Exiting with failure status due to previous errors",
            "tar: x: Cannot stat: No such file",
        ),
        ("error[E1]: no y\\nerror: could not compile z due to 2 previous errors", "error[E1]: no y"),
        ("x.c:1:9: error: no y\\n1 error generated.\\nmake: *** [Makefile:2: x] Error 1", "x.c:1:9: error: no y"),
        ("make: *** [Makefile:2: x] Error 1", "make: *** [Makefile:2: x] Error 1"),
        ("***", "***"),
    ],
)
async def test_the_first_line_of_a_failure_is_the_one_that_tells_the_most(bench: Bench, said: str, told: str) -> None:
    """Tables show no other one."""
    with pytest.raises(ShellError) as raised:
        await bench.call("shell", command=f"printf '{said}\\n' >&2; exit 3")

    assert str(raised.value).splitlines()[0] == f"the command ended with code 3: {told}"


@pytest.mark.parametrize(
    ("command", "told"),
    [
        ("echo 'FAILED test_x: 3 != 4'; exit 1", "the command ended with code 1: FAILED test_x: 3 != 4\n(it ran in "),
    ],
)
async def test_a_failure_whose_message_is_on_stdout_shows_it(bench: Bench, command: str, told: str) -> None:
    """As test runners and compilers do."""
    with pytest.raises(ShellError) as raised:
        await bench.call("shell", command=command, working_dir=".")

    assert str(raised.value).startswith(f"{told}{bench.workspace}")


@pytest.mark.parametrize(
    ("inputs", "told"),
    [
        ({"command": "test -d x"}, "test -d x"),
        ({"command": "  test -d x\n"}, "test -d x"),
        ({"command": ["test", "-d", "a b"]}, "test -d 'a b'"),
        ({"command": {"default": ["test", "-d", "x"]}}, "test -d x"),
        ({"command": "test -d 'a b'", "shell": False}, "test -d 'a b'"),
        ({"command": f"test -d {'x' * 300}"}, f"test -d {'x' * 191}…"),
        (
            {"command": "cd /\ntest -d x\n"},
            "a script of 2 lines; with the line `set -x` above them the log shows each that runs\n"
            "its lines:\ncd /\ntest -d x",
        ),
    ],
)
async def test_a_failure_that_has_printed_nothing_shows_its_command(
    bench: Bench, inputs: dict[str, Any], told: str
) -> None:
    """A reader has nothing else to know by which it was; of a script, how to see the line."""
    with pytest.raises(ShellError) as raised:
        await bench.call("shell", **inputs)

    first = "the command ended with code 1, and printed nothing: "
    assert str(raised.value).startswith(f"{first}{told}\n(it ran in {bench.workspace}")


async def test_a_silent_script_of_many_lines_shows_the_first_of_them(bench: Bench) -> None:
    """And says how many there are."""
    with pytest.raises(ShellError) as raised:
        await bench.call("shell", command="true\n" * 30 + "exit 4")

    lines = str(raised.value).splitlines()
    assert "a script of 31 lines" in lines[0]
    assert lines[2:-1] == ["true"] * 10 + ["(21 more lines)"]


async def test_where_an_output_was_cut_the_failure_says_so(bench: Bench) -> None:
    """At the line that it shows, so that it is not taken for a whole one."""
    with pytest.raises(ShellError) as raised:
        await bench.call("shell", command="printf %s abcdefghijkl; exit 3", max_output=4)

    lines = str(raised.value).splitlines()
    assert lines[0] == "the command ended with code 3: …kl"
    assert lines[1:4] == ["the end of its stdout: ab…", "[... 8 bytes left out ...]", "…kl"]


@pytest.mark.parametrize(
    ("inputs", "code"),
    [
        ({"command": "false; true"}, 0),
        ({"command": "false\ntrue\n"}, 1),
        ({"command": "false\ntrue\n", "strict": False}, 0),
        ({"command": "false; true", "strict": True}, 1),
        ({"command": "false | true\ntrue\n"}, 0),
        ({"command": "false | true\ntrue\n", "shell": "bash"}, 1),
        ({"command": "#!/bin/sh\nfalse\ntrue\n"}, 0),
        ({"command": "#!/bin/sh -e\nfalse\ntrue\n"}, 1),
        ({"command": "#!/usr/bin/env python3\nimport sys\nsys.exit(7)\n"}, 7),
    ],
)
async def test_a_script_ends_with_the_first_line_that_fails(bench: Bench, inputs: dict[str, Any], code: int) -> None:
    """A text of several lines is one; its first line may say what runs it, and then nothing is added."""
    result = await bench.call("shell", **inputs, check=False)

    assert result["return_code"] == code
    assert os.listdir(bench.workspace) == []


async def test_the_shell_of_a_definition_runs_its_texts(bench: Bench) -> None:
    """`settings: {shell: bash}`; a step may name another."""
    bench.context["settings"] = {"shell": "bash"}

    assert (await bench.call("shell", command='echo "${BASH_VERSION:+bash}"'))["stdout"] == "bash\n"
    assert (await bench.call("shell", command='echo "${BASH_VERSION:+bash}"', shell="/bin/sh"))["stdout"] != "zsh\n"


async def test_an_output_that_was_cut_is_not_used_unnoticed(bench: Bench) -> None:
    """No template gets at it under its own name, with a `default` or without; what was kept has another one."""
    result = await bench.call("shell", command="seq 100", max_output=20)
    names = {"steps": {"list": {"result": result, "status": "completed"}}}

    for template in (
        "{{ steps.list.result.stdout }}",
        "{{ steps.list.result['stdout'].split() | length }}",
        "{{ steps.list.result.stdout | default('') }}",
        "{{ steps.list.result.get('stdout', '') }}",
        "{{ steps.list.result | attr('stdout') }}",
        "{{ [steps.list.result] | map(attribute='stdout') | list }}",
        "{{ [steps.list.result] | groupby('stdout') | list }}",
        "{{ steps.list.result.stdout is defined }}",
    ):
        with pytest.raises(TemplateError, match=r"`stdout` was cut, .* ask for more with `max_output`"):
            await render(template, names)
    assert await render("{{ steps.list.result.stderr }}", names) == ""
    assert str(await render("{{ steps.list.result.stdout_cut }}", names)).startswith("1\n2\n3\n4\n5\n\n[... ")


async def test_more_output_is_kept_on_request(bench: Bench) -> None:
    """As much as `max_output` says."""
    result = await bench.call("shell", command="head -c 3000000 /dev/zero | tr '\\0' x", max_output=4_000_000)

    assert len(result["stdout"]) == 3_000_000


async def test_a_value_too_large_for_a_command_line_says_where_it_belongs(bench: Bench) -> None:
    """Into standard input, or a file."""
    with pytest.raises(OSError, match="put large values into `stdin` or a file"):
        await bench.call("shell", command=["true", "x" * 4_000_000])


async def test_shell_names_the_signal_that_killed_it(bench: Bench) -> None:
    """SIGSEGV reads better than -11."""
    with pytest.raises(ShellError, match="the command was killed by SIGSEGV"):
        await bench.call("shell", command="kill -SEGV $$")


async def test_shell_returns_any_code_when_told_not_to_check(bench: Bench) -> None:
    """`check: false` leaves the judgement to later steps."""
    assert (await bench.call("shell", command="exit 3", check=False))["return_code"] == 3


async def test_shell_says_when_output_was_cut(bench: Bench) -> None:
    """`truncated` is there only then; the log has all of it."""
    result = await bench.call("shell", command="yes | head -c 3000000")

    assert result["truncated"] is True
    assert len(result["stdout_cut"]) < 1_100_000


async def test_shell_names_a_command_that_does_not_exist(bench: Bench) -> None:
    """The same error as in Python, for `on_error: [FileNotFoundError]`."""
    with pytest.raises(FileNotFoundError, match="there is no command 'no-such-command' on the PATH"):
        await bench.call("shell", command=["no-such-command"])


async def test_what_a_task_prints_goes_to_the_log(bench: Bench) -> None:
    """Each line with its step and attempt, the last one also without its newline."""
    await bench.call("shell", command="echo one; printf two")
    await bench.call("echo", message={"a": 1})
    await bench.call("python_code", code="print('three')")

    assert sorted(without_times(bench.log_file.read_text()).splitlines()) == [
        "step.2| one", "step.2| three", "step.2| two", 'step.2| {"a": 1}',
    ]  # fmt: skip
    assert bench.log_file.stat().st_mode & 0o777 == 0o600


# -- python_code ------------------------------------------------------------------------------------------------------


async def test_python_code_returns_its_result(bench: Bench) -> None:
    """By item or by attribute; in the workspace; without a `result` it is null."""
    code = (
        "import os, sys\nprint('not the result')\nprint('{}', file=sys.__stdout__)\nos.system('echo nor this')\n"
        "result = [args.day, args['n'], steps['a']['result'], steps.a.status, workspace == os.getcwd(), [*steps], (1,)]"
    )

    assert await bench.call("python_code", code=code) == ["monday", 3, [1, 2], "completed", True, ["a", "b"], [1]]
    assert await bench.call("python_code", code="x = 1") is None


async def test_python_code_sees_all_names_in_context(bench: Bench) -> None:
    """`context` has what templates have; a step without result has its status."""
    code = "result = [context['start_dir'], context['steps']['b'], steps.b.status]"

    assert await bench.call("python_code", code=code) == [str(bench.folder), {"status": "skipped"}, "skipped"]


def test_only_what_the_code_mentions_is_sent(tmp_path: Path) -> None:
    """A large result of another step does not travel."""
    steps = {"a": {"result": 1}, "b": {"result": 2}}
    context = {"args": {"x": 1}, "env": {"HOME": "/"}, "workspace": "w", "steps": steps}

    assert python_code.names_for("result = 1", context) == {}
    assert python_code.names_for("steps['a'], args", context) == {"args": {"x": 1}, "steps": {"a": {"result": 1}}}
    assert python_code.names_for("steps.b", context) == {"steps": {"b": {"result": 2}}}
    assert python_code.names_for("for s in steps: steps['a']", context) == {"steps": steps}
    assert python_code.mentions("env['A'], env.B, env.get('C', 1), env[x]").env == {"A", "B", "C", "get"}


async def test_an_exception_keeps_its_name_and_line(bench: Bench) -> None:
    """A retry policy can name it, or any of its bases."""
    with pytest.raises(Exception, match=r"^nope \(line 3 of the code\)$") as raised:
        await bench.call("python_code", code="def f():\n    x = 1\n    raise ConnectionRefusedError('nope')\nf()")

    assert error_type(raised.value) == "ConnectionRefusedError"
    assert {"ConnectionRefusedError", "ConnectionError", "OSError"} <= set(*error_kinds(raised.value))


@pytest.mark.parametrize(
    ("code", "kind", "message"),
    [
        ("class Mine(ValueError): pass\nraise Mine", "Mine", "Mine (line 2 of the code)"),
        ("import json\njson.loads('x')", "json.decoder.JSONDecodeError",
         "Expecting value: line 1 column 1 (char 0) (line 2 of the code)"),
        ("x = = 1", "SyntaxError", "invalid syntax (line 1 of the code)"),
        ("import sys\nsys.exit(3)", "SystemExit", "3 (line 2 of the code)"),
        ("result = {1, 2}", "TypeError", "result is of type set, which JSON cannot hold"),
        ("result = {'a': [{1: 2}]}", "TypeError", "result['a'][0] has the key 1, and keys must be text"),
        ("result = [10**4300]", "ValueError", "result[0] is a number of more than 4300 digits, which JSON cannot hold"),
        ("result = [float('nan')]", "ValueError", "result[0] is nan, which JSON cannot hold"),
        ("result = []\nresult.append(result)", "ValueError",
         "result" + "[0]" * 24 + "[0 nests too deeply, or contains itself"),
        ("args.nobody", "AttributeError", "there is no 'nobody'; there is: day, n (line 1 of the code)"),
        ("import os\nos._exit(4)", "ChildProcessError", "the Python process ended with code 4"),
        ("import os\nos.kill(os.getpid(), 9)", "ChildProcessError", "the Python process was killed by SIGKILL"),
    ],
)  # fmt: skip
async def test_python_code_that_fails_says_how(bench: Bench, code: str, kind: str, message: str) -> None:
    """Whatever way the code ends, the failure has a name and a reason."""
    with pytest.raises(Exception, match=re.escape(message)) as raised:
        await bench.call("python_code", code=code)

    assert (error_type(raised.value), str(raised.value)) == (kind, message)


async def test_large_results_come_back_whole(bench: Bench) -> None:
    """A result is not output: it is not cut at the limit of what is printed."""
    assert await bench.call("python_code", code="result = 'x' * 3_000_000") == "x" * 3_000_000


GROUP = """
def fails():
    try:
        raise KeyError("id")
    except KeyError as error:
        raise ConnectionRefusedError("nope") from error

errors = []
for number in range(2):
    try:
        fails()
    except OSError as error:
        error.add_note(f"call {number}")
        errors.append(error)
raise ExceptionGroup("two calls", errors)
"""


async def test_a_group_of_errors_in_python_code_is_told_with_all_its_members_and_causes(bench: Bench) -> None:
    """Retry rules see each member and what it was raised from, as they do in Python steps."""
    with pytest.raises(ExceptionGroup) as raised:
        await bench.call("python_code", code=GROUP)

    failure = describe(raised.value)
    assert failure.type == "ConnectionRefusedError"
    assert failure.message.startswith("nope\ncall 0 (line 6 of the code) (and 1 more: ConnectionRefusedError: nope")
    assert failure.details is not None
    assert "KeyError" in failure.details
    assert all({"ConnectionError", "KeyError"} <= set(names) for names in error_kinds(raised.value))


async def test_so_is_a_group_that_an_error_in_python_code_was_raised_from(bench: Bench) -> None:
    """Retry rules ask for each of its errors, and the record holds them all."""
    group = "ExceptionGroup('two', [ExceptionGroup('one', [ConnectionError('refused')]), ValueError('bad')])"
    with pytest.raises(Exception, match="no page") as raised:
        await bench.call("python_code", code=f"raise RuntimeError('no page') from {group}")

    kinds = [set(names) for names in error_kinds(raised.value)]
    assert [({"ConnectionError", "ValueError"} & names) for names in kinds] == [{"ConnectionError"}, {"ValueError"}]
    assert all("RuntimeError" in names for names in kinds)
    details = describe(raised.value).details
    assert details is not None
    assert "ConnectionError: refused" in details
    assert "ValueError: bad" in details


@pytest.mark.parametrize(
    ("code", "said"),
    [
        (
            "class E(Exception):\n    def __str__(self): return self.args[3]\nraise E(1)",
            "its __str__ raised IndexError",
        ),
        (
            "e = ValueError(0)\nfor n in range(3000):\n    f = ValueError(n)\n    f.__cause__ = e\n    e = f\nraise e",
            "2999",
        ),
        ("e = ValueError(0)\nfor n in range(3000):\n    e = ExceptionGroup('g', [e])\nraise e", ""),
        ("raise GeneratorExit('done')", "done"),
    ],
    ids=["its text raises", "thousands of causes", "thousands of groups", "GeneratorExit"],
)
async def test_an_awkward_error_in_python_code_fails_the_step_as_itself(bench: Bench, code: str, said: str) -> None:
    """The child answers whatever its code raises, so the failure is never that there was no answer."""
    with pytest.raises(Exception) as raised:  # noqa: PT011 - of which class it is, is what the code decides
        await bench.call("python_code", code=code)

    assert not isinstance(raised.value, ChildProcessError)
    assert said in describe(raised.value).message


async def test_python_code_is_really_stopped(bench: Bench) -> None:
    """A cancelled step leaves no process behind, whatever the code does about signals."""
    os.mkfifo(bench.folder / "fifo")
    fifo = os.open(bench.folder / "fifo", os.O_RDONLY | os.O_NONBLOCK)
    code = (
        "import signal, time\nsignal.signal(signal.SIGTERM, lambda *_: None)\n"
        f"out = open({str(bench.folder / 'fifo')!r}, 'w')\nout.write('up')\nout.flush()\nwhile True: time.sleep(9)"
    )
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(lambda: bench.call("python_code", code=code))
        await anyio.wait_readable(fifo)
        assert os.read(fifo, 2) == b"up"
        tasks.cancel_scope.cancel()

    assert os.read(fifo, 1) == b""  # the end of the file: nobody holds the other end
    os.close(fifo)


def test_python_code_runs_in_the_interpreter_flujo_runs_in() -> None:
    """So that it can import what is installed there."""
    assert sys.executable


# -- files ------------------------------------------------------------------------------------------------------------


def test_a_file_as_large_as_allowed_is_read(tmp_path: Path) -> None:
    """One byte more is refused, by the size that is allowed."""
    file = tmp_path / "file"
    file.write_bytes(b"\n" * MAX_READ_BYTES)

    assert read_text(file, "ascii") == "\n" * MAX_READ_BYTES

    with file.open("ab") as more:
        more.write(b".")
    with pytest.raises(ValueError, match="is larger than 16 MiB"):
        read_text(file, "ascii")


async def test_files_are_written_and_read_back(bench: Bench) -> None:
    """Folders are made; the answer has the path and the size in bytes; anything but text is JSON."""
    written = await bench.call("write_file", path="a/b.txt", content="ä\n", encoding="latin-1")
    await bench.call("write_file", path="c.json", content={"ä": [1]})

    assert written == {"path": str(bench.workspace / "a" / "b.txt"), "size": 2}
    assert await bench.call("read_file", path="a/b.txt", encoding="latin-1") == "ä\n"
    assert (bench.workspace / "c.json").read_text() == '{"ä": [1]}'
    assert sorted(os.listdir(bench.workspace)) == ["a", "c.json"]


async def test_a_replaced_file_keeps_its_mode(bench: Bench) -> None:
    """A script stays executable."""
    (bench.workspace / "run").write_text("old")
    (bench.workspace / "run").chmod(0o750)

    await bench.call("write_file", path="run", content="new")

    assert (bench.workspace / "run").read_text() == "new"
    assert (bench.workspace / "run").stat().st_mode & 0o777 == 0o750


async def test_a_write_that_fails_leaves_the_old_file(bench: Bench) -> None:
    """Nothing half-written appears, nor anything beside it."""
    (bench.workspace / "file").write_text("old")

    with pytest.raises(UnicodeEncodeError):
        await bench.call("write_file", path="file", content="ä", encoding="ascii")
    (bench.workspace / "folder").mkdir()
    with pytest.raises(IsADirectoryError):
        await bench.call("write_file", path="folder", content="x")

    assert (bench.workspace / "file").read_text() == "old"
    assert sorted(os.listdir(bench.workspace)) == ["file", "folder"]


@pytest.mark.parametrize("path", ["../secret", "a/../../secret", "/etc/hostname", "link/secret", "link"])
@pytest.mark.parametrize("name", ["read_file", "write_file"])
async def test_paths_do_not_lead_out_of_the_workspace(bench: Bench, name: str, path: str) -> None:
    """Neither by dots, nor by a symbolic link, nor absolutely."""
    (bench.folder / "secret").write_text("s")
    (bench.workspace / "link").symlink_to(bench.folder)

    with pytest.raises(OutsideWorkspaceError, match="leads out of"):
        await bench.call(name, path=path, **({"content": "x"} if name == "write_file" else {}))


@pytest.mark.parametrize(("kind", "told"), [("pipe", "a named pipe"), ("socket", "a socket"), ("device", "a device")])
async def test_only_ordinary_files_are_read_and_replaced(bench: Bench, kind: str, told: str) -> None:
    """A pipe without its other end would block for ever, a device never end; the error says what does read them."""
    path = bench.workspace / kind
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "socket":
        with socket.socket(socket.AF_UNIX) as end:
            end.bind(os.path.relpath(path))  # noqa: ASYNC240 - the name of a socket is short
    else:
        path = Path("/dev/zero")

    for name, more in (("read_file", {}), ("write_file", {"content": "x"})):
        with pytest.raises(
            NotAFileError, match=f"is {told}, and only ordinary files are read and written; use `shell`"
        ):
            await bench.call(name, path=str(path), allow_outside=True, **more)
    with pytest.raises(NotAFileError, match=told):
        await bench.call("template", file=str(path), allow_outside=True)


@pytest.mark.parametrize("encoding", ["idna", "punycode"])
async def test_a_slow_encoding_is_no_encoding_of_files(bench: Bench, encoding: str) -> None:
    """Its time grows with the square of the size."""
    with pytest.raises(LookupError, match="encoding of host names"):
        await bench.call("write_file", path="x", content="x", encoding=encoding)


async def test_paths_outside_are_allowed_on_request(bench: Bench) -> None:
    """`allow_outside: true` says that it is meant."""
    (bench.folder / "secret").write_text("s")

    assert await bench.call("read_file", path="../secret", allow_outside=True) == "s"
    assert await bench.call("read_file", path=str(bench.folder / "secret"), allow_outside=True) == "s"


# -- the others -------------------------------------------------------------------------------------------------------


async def test_template_gives_text_or_a_file(bench: Bench) -> None:
    """From a text, or from a file beside the workflow or in the workspace, which sees every name."""
    (bench.folder / "beside.txt").write_text("{{ args.day }} beside\n")
    (bench.workspace / "inside.txt").write_text("{{ steps.a.result | length }} inside\n")

    assert await bench.call("template", template="rendered already") == "rendered already"
    assert await bench.call("template", file="beside.txt") == "monday beside\n"
    assert await bench.call("template", file="inside.txt") == "2 inside\n"
    assert await bench.call("template", file="beside.txt", output="out/x.txt") == {
        "path": str(bench.workspace / "out" / "x.txt"), "size": 14,
    }  # fmt: skip
    with pytest.raises(OutsideWorkspaceError):
        await bench.call("template", file="/etc/hostname")


async def test_echo_fail_and_noop(bench: Bench) -> None:
    """What they say is what they do."""
    assert await bench.call("echo", message=[1]) == [1]
    assert await bench.call("noop") is None
    with pytest.raises(TaskFailed, match="because"):
        await bench.call("fail", message="because")


async def test_waits_end_their_attempt(bench: Bench) -> None:
    """The kernel does the waiting; a signal is called like the step unless it is given a name."""
    assert await bench.call("sleep", duration="1m30s") == Wait(seconds=90)
    assert await bench.call("sleep", seconds=2) == Wait(seconds=2)
    assert await bench.call("wait_signal") == Wait(signal="step")
    assert await bench.call("wait_signal", signal="go", timeout="1h") == Wait(seconds=3600, signal="go")


async def test_inputs_that_do_not_fit_are_all_told(bench: Bench) -> None:
    """Wrong types, unknown names and missing ones."""
    with pytest.raises(TaskInputError) as raised:
        await bench.call("shell", command=None, chck=True)

    assert raised.value.problems == {
        "command": "must be a string or an array or an object, not null",
        "chck": "there is no input `chck`; did you mean `check`?",
    }
