"""The tasks that run Python in processes of their own, run by `flujoctl run`."""

from __future__ import annotations

import sys

import pytest

from workflows.tasks.conftest import Runs

MODULE = """
import asyncio
from dataclasses import dataclass


def summarize(numbers, *, scale=1):
    print("summing", numbers)
    return {"total": sum(numbers) * scale}


async def later(value):
    await asyncio.sleep(0)
    return value


class Report:
    @staticmethod
    def title(name):
        return name.title()


def broken():
    raise LookupError("no such report")


def foreign():
    return {"made": object()}
"""


@pytest.fixture(autouse=True)
def module(runs: Runs) -> None:
    """A module beside the workflow's file."""
    (runs.folder / "reports.py").write_text(MODULE)


def test_a_function_is_called_with_arguments_and_returns_its_value(runs: Runs) -> None:
    """A plain one, a coroutine, a method of a class, one of the standard library; what it prints goes to the log."""
    results = runs.results("""
        - name: plain
          task: python_function
          inputs: {module: reports, function: summarize, args: [[1, 2, 3]], kwargs: {scale: "{{ 2 }}"}}
        - {name: async, task: python_function, inputs: {module: reports, function: later, args: [x]}}
        - {name: nested, task: python_function, inputs: {module: reports, function: Report.title, args: [my report]}}
        - {name: library, task: python_function, inputs: {module: os.path, function: basename, args: [a/b]}}
    """)

    assert results == {"plain": {"total": 12}, "async": "x", "nested": "My Report", "library": "b"}
    assert runs.log() == "plain.1| summing [1, 2, 3]\n"


@pytest.mark.parametrize(
    ("inputs", "type", "told"),
    [
        ("module: reports, function: broken", "LookupError", "no such report (line 23 of module reports)"),
        ("module: reports, function: missing", "AttributeError", "module 'reports' has no attribute 'missing'"),
        ("module: reports, function: sumarize", "AttributeError", "; did you mean 'summarize'?"),
        ("module: reports, function: Report.x", "AttributeError", "no attribute 'x'; it has: title"),
        ("module: reports, function: summarize", "TypeError", "missing 1 required positional argument: 'numbers'"),
        ("module: reports, function: foreign", "TypeError", "the result['made'] is of type object"),
    ],
)
def test_what_a_function_raises_fails_the_step_under_its_name(inputs: str, type: str, told: str, runs: Runs) -> None:
    """With the line of the module; a result that JSON cannot hold fails it before anything is stored."""
    found, message = runs.error(f"- {{name: a, task: python_function, inputs: {{{inputs}}}}}")

    assert found == type
    assert told in message


INSTALL = f"{sys.executable} -m pip install PACKAGE"


def test_a_module_that_is_not_there_is_told_with_where_it_was_looked_for(runs: Runs) -> None:
    """And what to type: to put it there, or to install it where flujo runs."""
    _, told = runs.error("- {name: a, task: python_function, inputs: {module: nowhere_to_be_found, function: f}}")

    assert told == (
        f"No module named 'nowhere_to_be_found'; it was looked for beside the workflow's file ({runs.folder}), "
        f"in the workspace ({runs.workspace}), where the run was started ({runs.folder}), and where {sys.executable} "
        f"looks; put nowhere_to_be_found.py there, or install what has it: {INSTALL}"
    )


@pytest.mark.parametrize(
    ("step", "told"),
    [
        ("python_function, inputs: {module: report, function: summarize}", "; did you mean 'reports'?"),
        ("python_function, inputs: {module: needs, function: f}", "No module named 'not_there'; it was looked for"),
        ("python_code, inputs: {code: import not_there}", f"or install what has it: {INSTALL} (line 1 of the code)"),
        ("python_code, inputs: {code: import not_there}, for_each: [1]", f"or install what has it: {INSTALL}"),
        (
            "python_code, inputs: {code: import reports}",
            "type `import sys; sys.path.append(context['workflow_dir'])` above the import",
        ),
        ("python_module, inputs: {module: not_there}", f"install what has it: {INSTALL}"),
        ("python_module, inputs: {module: report}", "; did you mean 'reports'?"),
        ("python_module, inputs: {module: needs}", f"install what has it: {INSTALL}"),
        ("python_script, inputs: {script_path: x.py}", "there is no 'x.py' beside the workflow's file, "),
        ("template, inputs: {file: x.j2}", "there is no 'x.j2' beside the workflow's file, "),
    ],
)
def test_every_way_to_miss_a_module_or_a_program_is_told(step: str, told: str, runs: Runs) -> None:
    """By the module itself, by one that it imports, by code, by a program, by a file."""
    (runs.folder / "needs.py").write_text("import not_there")
    runs.run(f"- {{name: a, task: {step}}}")

    assert told in str(runs.state())


def test_a_program_that_fails_without_a_word_is_shown_with_its_arguments(runs: Runs) -> None:
    """As the command of `shell` is."""
    (runs.folder / "quiet.py").write_text("raise SystemExit(3)")
    _, told = runs.error("- {name: a, task: python_script, inputs: {script_path: quiet.py, args: [a b, 2]}}")

    first = f"the command ended with code 3, and printed nothing: python {runs.folder}/quiet.py 'a b' 2"
    assert told.splitlines()[0] == first


def test_code_comes_to_a_module_beside_the_workflow_as_it_is_told(runs: Runs) -> None:
    """What is printed works."""
    code = "import sys; sys.path.append(context['workflow_dir']); import reports; result = reports.Report.title('a')"

    assert runs.results(f'- {{name: a, task: python_code, inputs: {{code: "{code}"}}}}') == {"a": "A"}


@pytest.mark.parametrize(
    "name", ["atexit", "importlib", "json", "linecache", "math", "re", "resource", "signal", "threading", "traceback"]
)
def test_a_file_of_the_workspace_does_not_stand_in_for_what_runs_the_code(name: str, runs: Runs) -> None:
    """The code still imports its own, and an error of it is told with its line."""
    results = runs.results(f"""
        - {{name: file, task: write_file, inputs: {{path: {name}.py, content: "mine = 7"}}}}
        - {{name: other, task: write_file, inputs: {{path: own_module.py, content: "one = 1; double = [1].__mul__"}}}}
        - {{name: code, task: python_code, inputs: {{code: "from own_module import one as result"}}}}
        - name: loop
          for_each: [0, 2]
          on_error: continue
          task: python_code
          inputs: {{code: "result = 1 / item"}}
        - {{name: function, task: python_function, inputs: {{module: own_module, function: double, args: [2]}}}}
    """)

    assert results["code"] == 1
    assert results["function"] == [1, 1]
    assert "ZeroDivisionError" in str(results["loop"])
    assert "0.5" in str(results["loop"])


def test_names_that_are_none_are_refused_before_anything_runs(runs: Runs) -> None:
    """With the place in the file."""
    told = runs.refusal("- {name: a, task: python_function, inputs: {module: reports.py:x, function: f()}}")

    assert "3:55: `module` must be a name such as reports.monthly, not 'reports.py:x'" in told
    assert "`function` must be a name such as summarize, not 'f()'" in told


def test_inputs_of_code_are_its_variables(runs: Runs) -> None:
    """Besides the names it has anyway; `result_variable` says what the result is called."""
    results = runs.results("""
        - name: a
          task: python_code
          inputs:
            numbers: "{{ [1, 2] }}"
            timestamp: "{{ timestamp }}"
            code: |
              total = sum(numbers)
              result = "not this"
              seen = timestamp == context["timestamp"]
            result_variable: total
    """)

    assert results["a"] == 3


@pytest.mark.parametrize(
    ("inputs", "told"),
    [
        ("code: x = 1, my-name: 1", "`my-name` becomes a variable of the code, so it must be a Python name"),
        ("code: x = 1, class: 1", "`class` becomes a variable of the code"),
    ],
)
def test_an_input_that_cannot_be_a_variable_is_refused(inputs: str, told: str, runs: Runs) -> None:
    """Before anything runs."""
    assert told in runs.refusal(f"- {{name: a, task: python_code, inputs: {{{inputs}}}}}")


def test_a_result_variable_that_is_not_set_fails_the_step(runs: Runs) -> None:
    """Null would be taken for its value."""
    type, message = runs.error("- {name: a, task: python_code, inputs: {code: y = 1, result_variable: x}}")

    assert (type, message) == ("NameError", "the code has not set 'x', which `result_variable` names")


def test_a_script_runs_with_arguments_and_its_output_is_the_result(runs: Runs) -> None:
    """It is found beside the workflow's file, runs in the workspace, and sees which run it works for."""
    (runs.folder / "tool.py").write_text(
        "import os, sys\nprint(sys.argv[1:], os.environ['MINE'], os.environ['FLUJO_STEP'])\nopen('made', 'w')\n"
    )

    results = runs.results("""
        - {name: run, task: python_script, inputs: {script_path: tool.py, args: [a b, 5, true], env: {MINE: 1}}}
    """)

    assert results["run"] == {"returncode": 0, "stdout": "['a b', '5', 'true'] 1 run\n", "stderr": ""}
    assert (runs.workspace / "made").exists()
    assert runs.log() == "run.1| ['a b', '5', 'true'] 1 run\n"


def test_a_script_that_a_step_has_written_runs(runs: Runs) -> None:
    """It lies in the workspace."""
    results = runs.results("""
        - {name: write, task: write_file, inputs: {path: made.py, content: "print(1)"}}
        - {name: run, task: python_script, inputs: {script: made.py}}
    """)

    assert results["run"]["stdout"] == "1\n"


def test_a_module_runs_as_a_program(runs: Runs) -> None:
    """As `python -m` runs it; a code that is not 0 is in the result when that is wanted."""
    results = runs.results("""
        - {name: json, task: python_module, inputs: {module: json.tool, args: [--help]}}
        - {name: none, task: python_module, inputs: {module: not_there_at_all, check: false}}
    """)

    assert results["json"]["stdout"].startswith("usage: ")
    assert results["none"]["returncode"] == 1
    assert "No module named not_there_at_all" in results["none"]["stderr"]


@pytest.mark.parametrize(
    ("inputs", "type", "told"),
    [
        ("script_path: nowhere.py", "FileNotFoundError", "nowhere.py"),
        ("script_path: ../../../../x.py", "OutsideWorkspaceError", "leads out of"),
        ("script_path: ends.py", "ShellError", "the command ended with code 3: the reason\n(it ran in "),
        ("script_path: ends.py, args: [null]", "TypeError", "item 1 of `args` is null, not a text"),
        ("script_path: hangs.py, timeout: 0.2", "TimeoutError", "it took longer than"),
    ],
)
def test_a_script_that_fails_says_why(inputs: str, type: str, told: str, runs: Runs) -> None:
    """Where it is not, what it said last, what cannot be handed to it, that it takes too long."""
    (runs.folder / "ends.py").write_text("import sys\nprint('the reason', file=sys.stderr)\nsys.exit(3)\n")
    (runs.folder / "hangs.py").write_text("while True: pass\n")

    found, message = runs.error(f"- {{name: a, task: python_script, inputs: {{{inputs}}}}}")

    assert found == type
    assert told in message


def test_a_command_is_given_per_platform(runs: Runs) -> None:
    """That of this one runs; one without any for it is refused before anything runs."""
    results = runs.results("""
        - {name: own, task: shell, inputs: {command: {windows: dir, unix: [printf, "%s", a b]}}}
        - {name: other, task: shell, inputs: {command: {windows: dir, default: printf c}}}
    """)
    told = runs.refusal("- {name: a, task: shell, inputs: {command: {windows: dir}}}")

    assert [results["own"]["stdout"], results["other"]["stdout"]] == ["a b", "c"]
    assert "`command` has no text or list for this platform; give it under one of: " in told


def test_a_text_runs_without_a_shell_when_that_is_wanted(runs: Runs) -> None:
    """As the files of other engines have it; `true` is the shell that runs it anyway."""
    results = runs.results("""
        - {name: without, task: shell, inputs: {command: "printf '%s|' a 'b c' $HOME *", shell: false}}
        - {name: with, task: shell, inputs: {command: "echo $((1 + 1))", shell: true}}
    """)

    assert results["without"]["stdout"] == "a|b c|$HOME|*|"
    assert results["with"]["stdout"] == "2\n"


def test_a_command_has_a_timeout_among_its_inputs(runs: Runs) -> None:
    """As the files of other engines have it; nothing of it is left."""
    type, message = runs.error("- {name: a, task: shell, inputs: {command: sleep 600, timeout: 0.2}}")

    assert type == "TimeoutError"
    assert message.startswith("it took longer than")


def test_a_function_is_called_for_each_item(runs: Runs) -> None:
    """By processes that stay warm, each call with the names of its own item."""
    results = runs.results("""
        - name: each
          task: python_function
          for_each: [a b, c d, e f]
          inputs: {module: reports, function: Report.title, args: ["{{ item }}"]}
    """)

    assert results["each"]["results"] == ["A B", "C D", "E F"]


def test_a_result_that_is_too_large_fails_its_step_and_says_so(runs: Runs, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was cut is never read as an answer."""
    monkeypatch.setattr("flujo.workflows.tasks.python_code.MAX_OUTPUT_BYTES", 10_000)

    kind, _ = runs.error("""
        - {name: a, task: python_code, inputs: {code: "result = 'x' * 30_000"}}
    """)

    assert kind.endswith("OutputTooLargeError")


def test_a_module_beside_the_file_runs_as_a_program(runs: Runs) -> None:
    """As its functions can be called: it is looked for in the same places, after what `PYTHONPATH` says."""
    (runs.folder / "tool.py").write_text("import sys; print('tool', sys.argv[1:])")
    (runs.folder / "first").mkdir()
    (runs.folder / "first" / "other.py").write_text("print('other')")

    results = runs.results(f"""
        - {{name: tool, task: python_module, inputs: {{module: tool, args: [1, "a b"]}}}}
        - {{name: other, task: python_module, inputs: {{module: other, env: {{PYTHONPATH: "{runs.folder}/first"}}}}}}
    """)

    assert results["tool"]["stdout"] == "tool ['1', 'a b']\n"
    assert results["other"]["stdout"] == "other\n"


def test_a_name_of_templates_that_code_lacks_is_told_with_the_way_to_it(runs: Runs) -> None:
    """A parameter is in `args`, the others are in `context`; any other name is just not defined."""
    code = "- {{name: code, task: python_code, inputs: {{code: 'result = {}'}}}}"
    for name, way in (("run_number", "context['run_number']"), ("day", "args['day']")):
        type, message = _error(runs, code.format(name))
        assert type == "NameError"
        assert f"name '{name}' is not defined; code sees it as {way}" in message

    assert "code sees" not in _error(runs, code.format("nobody"))[1]
    assert "name 'os' is not defined; write `import os` above it" in _error(runs, code.format("os"))[1]


def test_attributes_go_down_into_results(runs: Runs) -> None:
    """As in templates; what is taken by its key stays a plain dictionary, as libraries want it."""
    results = runs.results("""
        - {name: made, task: python_code, inputs: {code: "result = {'a': {'b': [1]}, 'items': 2}"}}
        - name: used
          task: python_code
          inputs:
            code: |
              result = [steps.made.result.a.b, steps['made']['result']['a']['b'], steps.made.result['items'],
                        type(steps['made']['result']) is dict]
        - {name: missing, task: python_code, on_error: continue, inputs: {code: "result = steps.made.result.a.c"}}
    """)

    assert results["used"] == [[1], [1], 2, True]
    failed = next(step for step in runs.state()["steps"] if step["name"] == "missing")
    assert "there is no 'c'; there is: b" in failed["error"]["message"]


def _error(runs: Runs, steps: str) -> tuple[str, str]:
    """Run steps that fail as a run of their own, and return type and message."""
    error = runs.error(steps, top="params: {day: monday}")
    runs.flujoctl("delete", "r")
    return error


@pytest.mark.parametrize(
    ("code", "told"),
    [
        ("result = len(steps['big']['result']['stdout'])", "`stdout` was cut, since there was more of it"),
        ("result = len(steps.big.result.stdout)", "`stdout` was cut, since there was more of it"),
        ("result = steps['big']['result'].get('stdout', '')", "`stdout` was cut, since there was more of it"),
        ("result = context['steps']['big']['result']['stdout']", "`stdout` was cut, since there was more of it"),
        ("result = steps['filed']['result']['stdout']", "`stdout` went to a file: its path is `stdout_file`"),
    ],
)
def test_code_is_told_that_an_output_is_not_whole(code: str, told: str, runs: Runs) -> None:
    """By whatever way it asks; in the words that templates have for it."""
    kind, message = runs.error(f"""
        - {{name: big, task: shell, inputs: {{command: "seq 1 5000", max_output: 2000}}}}
        - {{name: filed, task: shell, inputs: {{command: "seq 1 3", stdout: numbers}}}}
        - {{name: use, task: python_code, inputs: {{code: "{code}"}}}}
    """)

    assert kind == "ValueError"
    assert told in message


def test_code_sees_what_was_kept_of_an_output(runs: Runs) -> None:
    """Under its own name, and everything else of the result, which is a dictionary as any other."""
    results = runs.results("""
        - {name: big, task: shell, inputs: {command: "seq 1 5000; echo warned >&2", max_output: 2000}}
        - name: use
          task: python_code
          inputs:
            code: |
              import json
              found = steps["big"]["result"]
              kept = found["stdout_cut"]
              seen = len(kept) < 3000, "stdout" in found, len(json.dumps(found)) > 2000
              result = [found.stderr, found.get("nothing", 1), *seen]
    """)

    assert results["use"] == ["warned\n", 1, True, False, True]
