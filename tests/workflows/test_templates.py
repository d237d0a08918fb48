"""Templates keep types, say what is missing, and cannot be made to take the process down."""

from __future__ import annotations

import subprocess
import sys
import tracemalloc
from typing import Any

import anyio
import pytest
from jinja2 import meta, nodes

from flujo.workflows import templates, workers
from flujo.workflows.bounds import MAX_SIZE
from flujo.workflows.evaluation import parsed
from flujo.workflows.sandbox import parts_of
from flujo.workflows.seen import NotRun
from flujo.workflows.templates import ConditionError, TemplateError, condition_references, references


def render(value: Any, names: dict[str, Any]) -> Any:
    """The rendered value, outside of an event loop."""
    return anyio.run(templates.render, value, names)


def holds(condition: bool | str, names: dict[str, Any]) -> bool:
    """A condition's verdict, outside of an event loop."""
    return anyio.run(templates.holds, condition, names)


NAMES: dict[str, Any] = {
    "args": {"day": "a b", "n": 3, "list": [1, 2, {"a": None}], "none": None},
    "day": "a b",
    "flag": True,
    "steps": {
        "done": {"result": {"items": [1], "keys": "k", "big": "x" * (MAX_SIZE + 1)}, "status": "completed"},
        "skipped": NotRun("skipped", "skipped"),
        "later": NotRun("later", "pending"),
    },
}


@pytest.mark.parametrize(
    ("template", "value"),
    [
        ("plain", "plain"),
        ("{{ args.n }}", 3),
        ("{{args.list}}", [1, 2, {"a": None}]),
        ("{{- args.none -}}", None),
        ("{{ flag }}", True),
        ("{{ args }}", NAMES["args"]),
        ("{{ '3' }}", "3"),
        ("{{ '[1]' }}", "[1]"),
        ("{{ args.n }}{{ args.n }}", "33"),
        (" {{ args.n }}", " 3"),
        ("{{ args.n }}\n", "3\n"),
        ("{{ '}}' }}", "}}"),
        ("{{ {'a': {'b': 1}} }}", {"a": {"b": 1}}),
        ("{{ (1, 2) }}", [1, 2]),
        ("{{ args.list | map('string') }}", ["1", "2", '{"a": null}']),
        ("{% if flag %}yes{% endif %}", "yes"),
        ("{% for i in args.list[:2] %}{{ loop.index }}:{{ i }} {% endfor %}", "1:1 2:2 "),
        ("a {# nothing #}b", "a {# nothing #}b"),
        ("${#list[@]} {{ args.n }} #}", "${#list[@]} 3 #}"),
        ("{% raw %}{{ x }}{% endraw %}", "{{ x }}"),
        ("ls {{ day | quote }}", "ls 'a b'"),
        ("{{ args.list | tojson }}", '[1, 2, {"a": null}]'),
        ("{{ '<ä>' | tojson }}", '"<ä>"'),
        ("{{ args.missing | default('d') }}", "d"),
        ("{{ steps.done.result.items }}", [1]),
        ("{{ steps.done.result.keys }}", "k"),
        ("{{ {'a': 1}.items() | list }}", [["a", 1]]),
        ("{{ '%s-%03d' | format('a', 7) }}", "a-007"),
        ("{{ 'a-b'.replace('-', '+').upper() }}", "A+B"),
        ("{{ [1, 2] | join(', ') }}", "1, 2"),
        ("{{ 'a' ~ 1 ~ none }}", "a1null"),
        ("{{ 2 ** 10 + 7 % 4 }}", 1027),
        ("{{ ['tar', *args.list, 'x',] }}", ["tar", 1, 2, {"a": None}, "x"]),
        ("{{ [*args.list[:1], *(args.list[:2] | map('string')), *range(2)] }}", [1, "1", "2", 0, 1]),
        ("{{ [2 * 3, [*[]]] }}", [6, []]),
        ("{{ [] }}", []),
    ],
)
def test_a_template_becomes_a_value(template: str, value: Any) -> None:
    """One expression alone keeps its type; anything around it makes text."""
    rendered = render(template, NAMES)

    assert rendered == value
    assert type(rendered) is type(value)


@pytest.mark.parametrize(
    "expression",
    ["1 if none.a else 2", "none.a.b ~ 1", "[1][5] and 1", "1 in 2", "'x' | int(none) < 'a'", "{'a': 1 // 0}", "-'x'"],
)
def test_reading_a_template_evaluates_nothing(expression: str) -> None:
    """A statement that makes names had Jinja2 compute what is constant, and an error of that was flujo's own."""
    loop = "{% for i in x %}{{ i }}{% endfor %}"

    assert references("{{ " + expression + " }}" + loop).roots == {"x"}


def test_texts_are_rendered_at_any_depth() -> None:
    """In lists and in the values of mappings; other values and keys stay."""
    value = {"{{ n }}": [{"a": "{{ args.n }}"}, 5, None, "x{{ day }}"]}

    assert render(value, NAMES) == {"{{ n }}": [{"a": 3}, 5, None, "xa b"]}


def test_a_rendered_value_is_a_copy() -> None:
    """What a task does to its inputs does not change the result they came from."""
    rendered = render("{{ args.list }}", NAMES)
    rendered[2]["a"] = 1

    assert NAMES["args"]["list"][2] == {"a": None}


def test_large_results_are_handed_on() -> None:
    """The bound on texts is for those a template makes, not for those a step returned."""
    assert render("{{ steps.done.result.big }}", NAMES) == "x" * (MAX_SIZE + 1)


def test_a_step_without_result_has_only_a_status() -> None:
    """`is defined` is false for it, and its status answers."""
    assert render("{{ steps.skipped is defined }}", NAMES) is False
    assert render("{{ steps.done is defined }}", NAMES) is True
    assert render("{{ steps.skipped.status }}", NAMES) == "skipped"
    assert render("{{ steps.later.status }}", NAMES) == "pending"
    assert render("{{ steps.later.result | default(1) }}", NAMES) == 1


@pytest.mark.parametrize(
    ("template", "message"),
    [
        ("{{ args.dey }}", "{{ args.dey }}: there is no `dey`; there is: day, n, list, none"),
        ("x {{ args['dey'] }}", "{{ args['dey'] }}: there is no `dey`; there is: day, n, list, none"),
        ("{{ [args.dey] }}", "{{ args.dey }}: there is no `dey`; there is: day, n, list, none"),
        ("{{ nobody }}", "{{ nobody }}: `nobody` is not defined"),
        ("{{ args.list[9] }}", "{{ args.list[9] }}: there is no item 9; the list has 3"),
        ("{{ args.n.x }}", "{{ args.n.x }}: a number has no `x`"),
        ("{{ args.none.x }}", "{{ args.none.x }}: null has no `x`"),
        ("{{ steps.skipped.result }}",
         "{{ steps.skipped.result }}: step `skipped` was skipped, so it has only a status; "
         "`| default(…)` says what stands for the rest"),
        ("{{ steps.later }}", "{{ steps.later }}: step `later` has not run yet, so it has only a status"),
        ("{{ range }}", "{{ range }}: a function is not a value that can be recorded"),
        ("{{ 1 // 0 }}", "{{ 1 // 0 }}: nothing can be divided by `0`"),
        ("{{ [*day] }}", "{{ *day }}: `*` puts in the items of a list, and `day` is a text"),
        ("{{ [*args.dey] }}", "{{ args.dey }}: there is no `dey`; there is: day, n, list, none"),
        ("{{ [,] }}", "the template is malformed: unexpected ','"),
        ("{{ a b }}", "the template is malformed: expected token 'end of print statement', got 'b'"),
        ("a\n{% if %}", "the template is malformed: "
         "Expected an expression, got 'end of statement block'; "
         "braces that are meant for the command itself go between {% raw %} and {% endraw %}"),
        ("docker ps\n--format '{{.Names}}'", "{{.Names}} is of a Go template, and none is rendered here; "
         "braces that are meant for the command itself go between {% raw %} and {% endraw %}"),
        ("{{.Names}}", "{{.Names}} is of a Go template, and none is rendered here; "
         "braces that are meant for the command itself go between {% raw %} and {% endraw %}"),
        ("{% for i in x recursive %}{% endfor %}", "the template is malformed: a recursive loop is not supported"),
        ("{% import 'x' as y %}", "the template is malformed: `import` is not supported"),
        ("{{ day ~ " + "1" * 5000 + " }}", "the template holds a number of more digits than can be read"),
        ("{{ 10**10**8 }}", "the template is malformed: "
         "write (a ** b) ** c or a ** (b ** c), since a ** b ** c is read as either"),
        ("{{ -n ** 2 }}", "the template is malformed: write (-a) ** b or -(a ** b), since -a ** b is read as either"),
        ("{{ 2 ** (10 ** 8) }}", "{{ 2 ** (10 ** 8) }}: the result would be a number of more than 4096 bits"),
        ("{{ 1e308 * 10 }}", "{{ 1e+308 * 10 }}: the number becomes larger than can be recorded"),
        ("{{ {'a': [1e308 * 10]} }}", "{{ {'a': [1e+308 * 10]} }}: the number becomes larger than can be recorded"),
        ("{{ 'a' ~ 1e308 * 10 }}", "{{ 'a' ~ (1e+308 * 10) }}: the number becomes larger than can be recorded"),
        ("{{ 2.0 ** 99999 }}", "{{ 2.0 ** 99999 }}: the number becomes larger than can be recorded"),
        ("{{ (1e308 * 10) | int }}", "{{ (1e+308 * 10) | int }}: the number becomes larger than can be recorded"),
        ("{{ [1e400] }}", "the template holds a number that is larger than can be recorded"),
        ("{{ self.day }}", "there is no name `self` (in a template)"),
        ("{{ day | replace }}", "filter `replace` needs `old` and `new`, as in x | replace(old, new)"),
        ("{{ day | slice }}", "filter `slice` needs `slices`, as in x | slice(slices)"),
        ("{{ 3 | round(1, 2, 3) }}", "filter `round` is given too much: it takes precision, method"),
        ("{{ [] | sort(atribute='a') }}", "filter `sort` takes no `atribute`; did you mean `attribute`?"),
        ("{{ day | quote(style='x') }}", "filter `quote` takes no `style`; it takes: nothing"),
        ("{{ 3 is divisibleby }}", "test `divisibleby` needs `num`, as in x is divisibleby(num)"),
        ("{{ 3 is odd(1) }}", "test `odd` is given too much: it takes nothing"),
        ("{{ [] | selectattr | list }}", "filter `selectattr` needs the name of an attribute"),
        ("{{ [] | map }}", "filter `map` needs the name of a filter, or `attribute=`"),
        ("x" * 65_537 + "{{ 1 }}", "a template has at most 64 KiB, this one has 64"),
    ],
)  # fmt: skip
def test_a_template_that_fails_says_why(template: str, message: str) -> None:
    """The message names the expression, and lists what there is."""
    with pytest.raises(TemplateError) as raised:
        render(template, NAMES)

    assert str(raised.value) == message


@pytest.mark.parametrize(
    "template",
    [
        "{{ ''.__class__ }}",
        "{{ ''['__class__'] }}",
        "{{ '' | attr('__class__') }}",
        "{{ '{0.__class__}'.format('') }}",
        "{{ '{x.__class__}'.format_map({'x': ''}) }}",
        "{{ ''.format.__self__ }}",
        "{{ steps.skipped.__init__.__globals__ }}",
        "{{ range.__init__ }}",
        "{{ self.__init__ }}",
        "{{ (1).real.__class__ }}",
        "{% macro m() %}{% endmacro %}{{ m.__globals__ }}",
        "{{ args.list.append(1) }}",
        "{{ args.update({'a': 1}) }}",
        "{{ cycler }}",
        "{{ lipsum() }}",
        "{{ joiner() }}",
        "{{ namespace() }}",
        "{{ ['__class__'] | map('attr', '__class__') | list | map('attr', '__mro__') | list }}",
        "{{ [''] | map(attribute='__class__') | list }}",
        "{{ [''] | groupby('__class__') }}",
    ],
)
def test_a_template_cannot_leave_the_sandbox(template: str) -> None:
    """Neither Python's internals nor a change of what was given is within reach."""
    before = repr(NAMES["args"])

    with pytest.raises(TemplateError):
        render(template, NAMES)
    assert repr(NAMES["args"]) == before


A_MEGABYTE = "{% set a = 'x' * 1000000 %}"

BOMBS = {
    "repeat": "{{ 'a' * 10**9 }}",
    "repeat a list": "{{ [0] * 10**9 }}",
    "repeat the other way": "{{ 10**9 * 'a' }}",
    "printf": "{{ '%1000000000d' | format(1) }}",
    "printf operator": "{{ '%1000000000d' % 1 }}",
    "printf star": "{{ '%*d' % (10**9, 1) }}",
    "printf precision": "{{ '%.1000000000f' % 1 }}",
    "format": "{{ '{:1000000000}'.format(1) }}",
    "format nested": "{{ '{:{}}'.format(1, 10**9) }}",
    "center": "{{ 'a' | center(10**9) }}",
    "center method": "{{ 'a'.center(10**9) }}",
    "zfill": "{{ 'a'.zfill(10**9) }}",
    "ljust": "{{ 'a'.ljust(10**9) }}",
    "expandtabs": "{{ '\\t'.expandtabs(10**9) }}",
    "indent": "{{ 'x' | indent(10**9) }}",
    "indent by keyword": "{{ 'x' | indent(width=10**9) }}",
    "batch": "{{ [1] | batch(10**9, 'x') | list }}",
    "slice": "{{ [1] | slice(10**9) | list }}",
    "json": "{{ {'a': 1} | tojson(indent=10**9) }}",
    "power": "{{ 9 ** 9 ** 9 ** 9 ** 9 }}",
    "power of ten": "{{ 10 ** 1000000000 }}",
    "float power": "{{ 10.0 ** 1000000000 }}",
    "product": "{% set a = 2 ** 4000 %}{{ a * a }}",
    "range": "{{ range(10**9) | list }}",
    "loops": "{% for i in range(100000) %}{% for j in range(100000) %}{% endfor %}{% endfor %}",
    "much output": "{% for i in range(100000) %}{{ 'a' * 100000 }}{% endfor %}",
    "replace": A_MEGABYTE + "{{ a.replace('', a) }}",
    "replace filter": A_MEGABYTE + "{{ a | replace('', a) }}",
    "join": A_MEGABYTE + "{{ a.join(a) }}",
    "join filter": A_MEGABYTE + "{{ a | join(a) }}",
    "doubling": "{% set x = 'aaaaaaaaaa' %}" + "{% set x = x ~ x %}" * 40 + "{{ x }}",
    "doubling by plus": "{% set x = 'aaaaaaaaaa' %}" + "{% set x = x + x %}" * 40 + "{{ x }}",
    "doubling a list": "{% set x = [1] %}" + "{% set x = x + x %}" * 40 + "{{ x }}",
    "doubling a block": "{% set x = 'aaaaaaaaaa' %}" + "{% set x %}{{ x }}{{ x }}{% endset %}" * 40 + "{{ x }}",
    "doubling by stars": "{% set x = [1] %}" + "{% set x = [*x, *x] %}" * 40 + "{{ x }}",
    "shared list": "{{ [['x' * 1000000]] * 1000000 }}",
    "endless macro": "{% macro f(n) %}{{ f(n) }}{% endmacro %}{{ f(1) }}",
    "parentheses": "{{ " + "(" * 5000 + "1" + ")" * 5000 + " }}",
    "long sum": "{{ " + "+".join(["1"] * 5000) + " }}",
    "translate": "{{ 'aaaa'.translate({97: 'b'}) }}",
}


@pytest.mark.parametrize("bomb", BOMBS)
def test_a_bomb_is_refused_within_bounded_memory(bomb: str) -> None:
    """However large the result would be, little is made of it."""
    tracemalloc.start()
    try:
        with pytest.raises(TemplateError):
            render(BOMBS[bomb], NAMES)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert peak < 60_000_000


def test_loading_a_bomb_computes_nothing() -> None:
    """A template is only looked at when a definition is loaded."""
    tracemalloc.start()
    for bomb in BOMBS.values():
        try:
            references(bomb)
        except TemplateError:
            pass
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert peak < 20_000_000


@pytest.mark.parametrize(
    ("condition", "verdict"),
    [
        (True, True),
        (False, False),
        ("TRUE", True),
        ("false", False),
        ("args.n == 3", True),
        ("{{ args.n > 5 }}", False),
        ("{{ 'False' }}", False),
        (" {{ 'true' }}\n", True),
        ("{% if flag %} True {% endif %}", True),
        ("steps.skipped is defined", False),
        ("steps.skipped.status == 'skipped' and not (args.n in [1, 2])", True),
        ("{'a': {'b': 1}}.a.b == 1", True),
    ],
)
def test_a_condition_is_true_or_false(condition: bool | str, verdict: bool) -> None:
    """A template, or an expression without braces."""
    assert holds(condition, NAMES) is verdict


@pytest.mark.parametrize(
    ("condition", "shown"), [("args.n", "3"), ("args.list", '[1, 2, {"a": null}]'), ("day", '"a b"'), ("none", "null")]
)
def test_a_condition_that_is_neither_names_its_value(condition: str, shown: str) -> None:
    """Truth is not guessed from numbers, texts or lists."""
    with pytest.raises(ConditionError, match="which is neither true nor false") as raised:
        holds(condition, NAMES)

    assert f"gave {shown}," in str(raised.value)


def test_references_are_what_a_template_mentions() -> None:
    """Roots, steps, their fields, parameters and variables, through dots, brackets and get()."""
    found = references(
        "{{ steps.a.result.x }} {{ steps['b-c'].status }} {{ env.HOME }} {{ env['X'] }} {{ env.get('Y', 1) }}"
        "{{ args.q }} {{ args.get('r') }} {{ zz }}{% set y = 1 %}{{ y }}{% for i in steps %}{{ steps[i] }}{% endfor %}"
    )

    assert found.roots == {"steps", "env", "args", "zz"}
    assert found.steps == {"a", "b-c"}
    assert found.fields == {("a", "result"), ("b-c", "status")}
    assert found.parameters == {"q", "r"}
    assert found.env == {"HOME", "X", "Y"}
    assert not found.computed_env
    assert references("{{ env[day] }}").computed_env
    assert condition_references("steps.a.result > args.n").steps == {"a"}


def test_names_that_a_template_sets_itself_are_not_references() -> None:
    """`{% set steps = … %}` hides ours."""
    assert references("{% set steps = {'x': 1} %}{{ steps.x }}").steps == set()


@pytest.mark.parametrize(
    "template",
    [
        "plain {{ a }} and {{ range(3) }} and {{ dict(b=1) }}",
        "{{ a.b[c](d, e=f)[g:h:i] | default(j) | map('upper') | list }}",
        "{{ a if b is divisibleby(c) else d ~ [e, *f] ~ {g: h} ~ (i, -j) }}",
        "{% if a %}{{ b }}{% elif c %}{{ d }}{% else %}{{ e }}{% endif %}",
        "{% filter upper %}{{ a }}{% endfilter %}{% autoescape b %}{{ c }}{% endautoescape %}",
        "{{ a }}{% for a in b if c %}{{ loop.index }}{{ a }}{{ d }}{% else %}{{ a }}{% endfor %}",
        "{% set a = b %}{{ a }}{{ c }}{% set d %}{{ e }}{% endset %}",
        "{% with a = b %}{{ a }}{{ c }}{% endwith %}{{ a }}",
        "{% macro a(b, c=d) %}{{ b }}{{ e }}{% endmacro %}{{ a(f) }}",
        "{% if a %}{% set b = 1 %}{% endif %}{{ b }}",
    ],
)
def test_the_names_that_a_template_does_not_make_are_those_that_jinja_tells(template: str) -> None:
    """Most templates make none, and are not compiled to find that out, which takes as long as all the rest."""
    assert references(template).roots == meta.find_undeclared_variables(parsed(template))


def test_a_template_is_walked_in_the_order_of_its_text() -> None:
    """As Jinja2 walks it, in less time."""
    tree = parsed(
        "{% if a is divisibleby(c) %}{{ [d, *e][f:g].h }}{% endif %}{{ {'i': j}.k | default(l, boolean=n) }} o"
    )

    assert list(parts_of(tree)) == list(tree.find_all(nodes.Node))


def test_the_package_is_cheap_to_import() -> None:
    """`import flujo.workflows` loads neither Jinja2 nor PyYAML."""
    program = "import sys, flujo.workflows; print([m for m in ('jinja2', 'yaml') if m in sys.modules])"
    path = ":".join(entry for entry in sys.path if entry)

    output = subprocess.run(
        [sys.executable, "-c", program], env={"PYTHONPATH": path}, capture_output=True, text=True, check=True
    ).stdout

    assert output == "[]\n"


@pytest.mark.parametrize(
    ("template", "text"),
    [
        ("{{ day }}", "a b"),
        ("<{{ args.n }}> {{ args.list[2].a }}", "<3> null"),
        ("{{ day | upper }}", "A B"),
    ],
)
def test_what_takes_a_few_names_asks_no_worker(template: str, text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Most templates do no more, and a process to ask is slow."""
    monkeypatch.setattr(workers.workers, "render", None)

    assert render(template, NAMES) == text


@pytest.mark.parametrize(("value", "text"), [(True, "<true>"), (None, "<null>"), ([1, "a"], '<[1, "a"]>'), (7, "<7>")])
def test_one_value_may_stand_alone_behind_a_percent_sign(value: Any, text: str) -> None:
    """It becomes the text that it becomes everywhere."""
    assert render("{{ '<%s>' % x }}", {"x": value}) == text


@pytest.mark.parametrize(
    "template",
    [
        "{{ [3, 1] | sort(reverse=true) }}",
        "{{ 'a-b' | replace('-', new='+') }}",
        "{{ [1, 2, 3] | slice(2) | list }}",
        "{{ [1, 2, 3] | slice(2, fill_with=0) | list }}",
        "{{ '%s %s' | format('a', 'b') }}",
        "{{ ['a-b'] | map('replace', '-', '+') | list }}",
        "{{ [{'a': 1}] | map(attribute='a', default=2) | list }}",
        "{{ [{'a': 1}] | groupby('a') }}",
        "{{ [1, 2] | select('divisibleby', 2) | list }}",
        "{{ [1, 2] | batch(2, *[0]) | list }}",
        "{{ {'a': 1} | dictsort(by='value') }}",
        "{{ [1] | sum(start=2) }}{{ [1] | first }}{{ 'a' | truncate(5, end='') }}",
        "{{ 9 is divisibleby 3 }}{{ 1 is in [1] }}{{ 'a' is sameas 'a' }}",
        "{% filter replace('a', 'b') %}a{% endfilter %}",
    ],
)
def test_arguments_that_fit_are_not_complained_of(template: str) -> None:
    """By place, by name, spread, and for the filters that Jinja2 hands more than is written."""
    render(template, NAMES)
