"""Whatever a template or a pattern says: the event loop goes on, time and memory are bounded, the error says why."""

from __future__ import annotations

import gc
import os
import re
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import anyio
import pytest

from flujo.kernel.errors import DefinitionError, Problem
from flujo.server.starts import read_definition as requested_workflow
from flujo.v1.payload_pb2 import Definition
from flujo.workflows import patterns, workers
from flujo.workflows.bounds import MAX_VALUE
from flujo.workflows.definition_reader import read_definition
from flujo.workflows.documents import MAX_PROBLEMS
from flujo.workflows.parameters import check_inputs, declare, keyword_problems
from flujo.workflows.registry import Tasks
from flujo.workflows.tasks import python_code
from flujo.workflows.templates import TemplateError, render

from . import hostile
from .stalls import watched

HOSTILE = list(hostile.templates())
GROUPS = 4

MAX_STALL = 0.1
"""Processor time, in seconds, that may pass while the event loop does not come round."""

MAX_SECONDS = 1.5
"""Processor time, in seconds, of one template."""

LIMITS = re.compile(r"\d+ (KiB|MiB|s of processor time|names, signs and texts|rounds|bits|calls)")
"""How a limit is named."""

MISTAKES = re.compile(
    r": (a text|a number|a list) (has no |cannot be )|there is no item|malformed|can be recorded|"
    r"is not available in templates|neither true nor false|`; write |no list to go through|goes through a list|"
    r"takes two numbers|compares two |"
    r"takes a number|is not (base64|an instant|JSON)|could not convert|not all arguments|item pairs|can't multiply|"
    r"bad operand|goes through a mapping|"
    r"^(filter|test) `\w+` (needs|takes no|is given too much)"
)
"""How something else is named that is wrong with a template."""

MAX_MEMORY = 50_000_000
"""Bytes, of a worker with its Python and of what this process grows by: a worker alone takes up to 45,000,000."""

NAMES = {"args": {"n": 1}, "steps": {}, "x": 1}


@pytest.fixture(autouse=True)
def _without_the_garbage_of_other_tests() -> Iterator[None]:
    """A collection of all that other tests have left in this process would count as a stall."""
    gc.disable()
    yield
    gc.enable()


@pytest.fixture(autouse=True)
def known_workers(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The processes of the workers are known, and none stays behind."""
    start, close = workers._Worker.__init__, workers._Worker.close

    def started(worker: workers._Worker) -> None:
        start(worker)
        WORKERS.add(worker._process.pid)

    def closed(worker: workers._Worker) -> int:
        WORKERS.discard(worker._process.pid)
        return close(worker)

    monkeypatch.setattr(workers._Worker, "__init__", started)
    monkeypatch.setattr(workers._Worker, "close", closed)
    yield
    workers.workers.close()


class Peak:
    """The most memory that a worker was seen to have, in bytes."""

    memory = 0

    def look(self) -> None:
        """Look at those there are."""
        self.memory = max([self.memory, *map(peak_memory, tuple(WORKERS))])


WORKERS: set[int] = set()
"""The workers there are."""


def peak_memory(pid: int | str) -> int:
    """The most a living process has had, in bytes."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return 0
    return max([int(size) * 1024 for size in re.findall(r"VmHWM:\s+(\d+)", status)], default=0)


def processor_seconds() -> float:
    """The processor time of this process and of all workers there were, in seconds: what others take does not count."""
    ended = os.times()
    return time.process_time() + ended.children_user + ended.children_system + sum(map(seconds_of, WORKERS))


def seconds_of(pid: int) -> float:
    """The processor time of a living process."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def test_there_are_two_hundred_of_them() -> None:
    """Every filter is among them."""
    assert len(HOSTILE) + len(hostile.PATTERNS) >= 200


@pytest.mark.skipif(not os.path.exists("/proc/self/statm"), reason="memory is limited and measured on Linux")
@pytest.mark.parametrize("anyio_backend", ["asyncio"])
@pytest.mark.parametrize("group", range(GROUPS))
async def test_a_hostile_template_ends_within_its_limits(group: int) -> None:
    """Each gives a value of bounded size or an error; no more is taken than a worker may take, and the loop goes on."""
    assert await render({"value": "{{ args.n | string | list }}"}, NAMES) == {"value": ["1"]}  # what any template takes
    told: list[str] = []
    grown = 0  # by one of them; what is kept of all is bounded elsewhere

    peak = Peak()
    async with watched(peak.look) as seen:
        for template in HOSTILE[group::GROUPS]:
            began, before = processor_seconds(), peak_memory("self")
            try:
                value = await render({"value": template}, NAMES)
            except TemplateError as error:
                told.append(error.message)
            else:
                assert len(str(value)) <= 5 * MAX_VALUE
            assert processor_seconds() - began < MAX_SECONDS, template[:100]
            grown = max(grown, peak_memory("self") - before)

    assert [each for each in told if not (LIMITS.search(each) or MISTAKES.search(each))] == []
    assert max(map(len, told)) < 1000
    assert seen.stall < MAX_STALL
    assert 0 < grown + peak.memory < MAX_MEMORY


@pytest.mark.skipif(not os.path.exists("/proc/self/statm"), reason="memory is limited and measured on Linux")
@pytest.mark.parametrize(
    "filter", ["wordwrap(1)", "wordwrap(79)", "list | sort", "regex_findall('x')", "lines", "title"]
)
@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_a_value_that_is_given_to_a_hostile_template_counts(filter: str) -> None:
    """What it takes is limited by what it is, not by the letters it could have been made of."""
    before, peak, value, told = peak_memory("self"), Peak(), "xx\n" * 270_000, ""

    async with watched(peak.look):
        try:
            await render(
                f"{{{{ args.x | {filter} | list | map('upper') | list | sort | join | length }}}}",
                {"args": {"x": value}},
            )
        except TemplateError as error:
            told = error.message

    assert told == "" or LIMITS.search(told)
    assert 0 < peak_memory("self") - before + peak.memory < MAX_MEMORY


@pytest.mark.parametrize(
    ("template", "limit"),
    [
        ("{% for i in range(100000) %}{% set y = ('x' * 1000000) | list %}{% endfor %}", r"0\.7 s of processor time"),
        ("".join(f"{{% set a{n} = ('x' * 1000000) | list %}}" for n in range(9)), "16 MiB of memory"),
        ("{{ 'x' * 2000000 }}", "1024 KiB"),
        ("{{ [2 ** 2000] * 100000 }}", "16 MiB"),
        ("{{ 2 ** 5000 }}", "4096 bits"),
        ("{% for i in range(9) %}{% for j in range(99999) %}{% endfor %}{% endfor %}", "500000 rounds"),
        ("{{ args }}" * 2000, "5000 names, signs and texts"),
    ],
)
async def test_the_error_names_the_limit(template: str, limit: str) -> None:
    """How much there is of what was used up."""
    with pytest.raises(TemplateError, match=limit):
        await render(template, NAMES)


async def test_a_worker_that_was_ended_is_replaced() -> None:
    """What comes next does not suffer."""
    with pytest.raises(TemplateError, match="processor time"):
        await render("{% for i in range(100000) %}{% set y = ('x' * 1000000) | list %}{% endfor %}", NAMES)

    assert await render("{% for i in [1, 2] %}{{ i }}{% endfor %}", NAMES) == "12"


async def test_a_cancel_does_not_wait_for_a_template() -> None:
    """The worker is ended, and the caller goes on at once."""
    started = anyio.Event()

    async def evaluate() -> None:
        started.set()
        await render("{% for i in range(100000) %}{% set y = ('x' * 1000000) | list %}{% endfor %}", NAMES)
        raise AssertionError("the template came to an end")

    async with watched() as seen, anyio.create_task_group() as group:
        group.start_soon(evaluate)
        await started.wait()
        await anyio.sleep(0.05)
        group.cancel_scope.cancel()

    assert seen.stall < MAX_STALL


@pytest.mark.parametrize("pattern", hostile.PATTERNS)
def test_a_hostile_pattern_is_refused_or_quick(pattern: str) -> None:
    """What it may take is known before a text is matched; the error says what is too much."""
    began = time.process_time()
    parameter = declare("p", {"type": "string", "pattern": pattern})
    if not (problems := keyword_problems({"type": "string", "pattern": pattern})):
        for text in hostile.PATTERN_TEXTS:
            for part in (text, text[: patterns._read(pattern).max_length]):
                problems = {str(length): problem for length, problem in enumerate(parameter.problems(part))}

    assert time.process_time() - began < 2
    assert all("must" in each or "`pattern`" in each for each in problems.values())


async def test_no_list_of_inputs_holds_up_the_event_loop() -> None:
    """A megabyte of items is checked at once, or refused for their number."""
    numbers = declare("n", {"type": "array", "items": {"type": "integer"}})
    words = declare("w", {"type": "array", "items": {"type": "string", "pattern": "^x+$"}})

    async with watched() as seen:
        await anyio.sleep(0.01)
        _, problems = check_inputs([numbers, words], {"n": [1] * 500_000, "w": ["x"] * 250_000})
        await anyio.sleep(0.01)

    assert seen.stall < MAX_STALL
    assert problems == {"w": "must have at most 20000 items for each to be checked, it has 250000"}


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_no_definition_that_a_client_sends_holds_up_the_event_loop() -> None:
    """One of the largest size, full of templates, is read beside it, and refused for their number."""
    message = "        - '{{ args.a ~ args.b }} {{ args.c | default(steps.d.result) }}'\n"
    text = "name: x\nsteps:\n  - name: a\n    task: echo\n    inputs:\n      message:\n" + message * 3000

    async with watched() as seen:
        with pytest.raises(DefinitionError, match="there is no step `d`"):
            await requested_workflow(Definition(text=text, name="x.yaml"))

    assert seen.stall < MAX_STALL


@pytest.mark.parametrize("code", ["x = [1, 2, 3]\n" * 20_000, "(" * 100_000, "x = " + "-" * 100_000 + "1"])
def test_long_code_is_not_parsed_where_it_cannot_be_interrupted(code: str) -> None:
    """What it mentions is what stands in it, and its syntax errors are met when it runs."""
    began = time.process_time()

    assert python_code.mentions(code + "args, env.get('A')").names >= {"args", "env"}
    assert python_code.mentions(code + "args, env.get('A')").env == {"A"}
    assert python_code._check({"code": code}) == {}
    assert time.process_time() - began < MAX_STALL


def lines(line: str, count: int) -> str:
    """A line for each of many numbers."""
    return "".join(line.format(number) for number in range(count))


NOOP = "name: x\nsteps: [{name: a, task: noop}]\n"
PARAMETER = "name: x\nparams: {p: 1}\nsteps:\n"
GREET = "- {{name: s{0}, task: echo, inputs: {{message: '{{{{ p }}}}'}}}}\n"
MESSAGES = "steps:\n- name: a\n  task: echo\n  inputs:\n    message:\n"
FLOWS = "flows:\n  definitions:\n"
LARGE = {
    "steps with templates": PARAMETER + lines(GREET, 1000),
    "flows": PARAMETER + lines(GREET, 480) + FLOWS + lines("    f{0}: [s1]\n", 1200),
    "flows without steps": NOOP + FLOWS + lines("    f{0}: [b{0}]\n", 3000),
    "flows whose outputs fail": "name: x\nsteps: {a: {task: noop}, b: {task: noop}}\n"
    + "outputs:\n"
    + lines("  a{0}: '{{{{ steps.a.result }}}}'\n", 1500)
    + FLOWS
    + lines("    f{0}: [b]\n", 1200),
    "imports": f"{NOOP}imports:\n" + lines("- a{0}\n", 5000),
    "parameters and names near to theirs": "name: x\nparams:\n"
    + lines("  abcdefgh{0}: 1\n", 1500)
    + MESSAGES
    + lines("    - '{{{{ args.bcdefgh{0} }}}}'\n", 1500),
    "names that are not there": f"name: x\n{MESSAGES}" + lines("    - '{{{{ bcdefgh{0} }}}}'\n", 3000),
    "variables": f"{NOOP}env:\n" + lines("  A{0}: '{{{{ args.b{0} }}}}'\n", 2000),
    "defaults": "name: x\ndefaults: {retry: {delay: x}}\nsteps:\n" + lines("- {{name: s{0}, task: noop}}\n", 1500),
}


@pytest.mark.parametrize("text", LARGE.values(), ids=LARGE)
def test_large_definitions_are_read_or_refused_quickly(text: str) -> None:
    """However many of whatever there are, and however much of that is wrong."""
    begun = time.process_time()

    problems: Sequence[Problem] = ()
    try:
        read_definition(text, "x.yaml", Tasks())
    except DefinitionError as error:
        problems = error.problems

    assert time.process_time() - begun < 2
    assert len(problems) <= MAX_PROBLEMS + 1
