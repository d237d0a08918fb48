"""Templates and patterns made to take the process down: every filter, operator and method × size × nesting."""

from __future__ import annotations

from collections.abc import Iterator

from flujo.workflows.evaluation import _sandbox

SEEDS = {
    "a text of a megabyte": "('x' * 1000000)",
    "a list of megabytes": "([['x' * 1000000]] * 900)",
    "a long list": "([0] * 1000000)",
    "large numbers": "([2 ** 2000] * 50000)",
    "doubled lists": "nested",
    "braces": "('{\"' * 100000)",
}

DOUBLED = "{% set nested = ['x'] %}" + "{% set nested = [nested, nested] %}" * 60

ARGUMENTS = {
    "attr": "('x')",
    "batch": "(10000, 'x')",
    "center": "(10000)",
    "dictsort": "",
    "format": "('x' * 1000000, 'x' * 1000000)",
    "groupby": "(0)",
    "indent": "(10000, true)",
    "join": "('x' * 1000000)",
    "map": "('string')",
    "reject": "('equalto', 0)",
    "rejectattr": "(0)",
    "replace": "('x', 'x' * 1000000)",
    "select": "('equalto', 0)",
    "selectattr": "(0)",
    "slice": "(10000)",
    "tojson": "(10000)",
    "wordwrap": "(1)",
}

METHODS = (
    *("format('x' * 1000000)", "replace('x', 'x' * 1000000)", "join(['x' * 1000000] * 900)", "zfill(10000)"),
    *("split('x')", "splitlines()", "upper().lower().title()", "encode()", "partition('x')", "rsplit('x')"),
    *("count('x')", "find('y')", "startswith(('y',) * 1000000)", "expandtabs(9999)", "casefold().swapcase()"),
)

OPERATORS = ("+", "-", "*", "/", "//", "%", "**", "~", "==", "<", "in", "and", "or")

SHAPES = {
    "loops": "{% for i in range(100000) %}{% for j in range(100000) %}{% for k in SEED %}"
    "{% endfor %}{% endfor %}{% endfor %}",
    "a loop that compares": "{% for i in range(100000) %}{% if SEED == SEED %}{% endif %}{% endfor %}",
    "a loop that makes": "{% for i in range(100000) %}{% set y = SEED | list %}{% endfor %}",
    "a loop that sorts": "{% for i in range(100000) %}{% set y = SEED | string | list | sort %}{% endfor %}",
    "macros": "{% macro m(n) %}{% for i in range(9) %}{{ m(n) }}{{ SEED }}{% endfor %}{% endmacro %}{{ m(1) }}",
    "a macro in loops": "{% macro m(n) %}{{ n }}{% endmacro %}"
    "{% for i in range(100000) %}{% set y = m(SEED) %}{% endfor %}",
    "blocks": "{% set b = SEED %}" + "{% set b %}{{ b }}{{ b }}{% endset %}" * 40 + "{{ b }}",
    "chains": "{{ SEED" + " | string | tojson | quote" * 40 + " }}",
    "many": "{{ [" + "SEED, " * 300 + "] | string }}",
    "filters over filters": "{{ SEED | map('list') | map('list') | map('string') | map('upper') | join | length }}",
    "a value": "{{ SEED }}",
    "a comparison": "{{ SEED == SEED and SEED < SEED }}",
    "dictionaries": "{{ dict(a=SEED, b=SEED, **{'c': SEED}) | tojson | fromjson | dictsort | string }}",
}

TEXTS = {
    "parentheses": "{{ " + "(" * 30_000 + "1" + ")" * 30_000 + " }}",
    "a long sum": "{{ " + "1+" * 30_000 + "1 }}",
    "many expressions": "{{ args }}" * 6_000,
    "many conditions": "{% if x %}" * 3_000 + "{% endif %}" * 3_000,
    "many filters": "{{ x" + " | d" * 15_000 + " }}",
    "a long list": "{{ [" + "1," * 30_000 + "] }}",
    "no end": "{{ '" + "a" * 60_000,
    "many beginnings": "{% raw %}" * 7_000,
    "a text with marks": "{% set a = '" + "{{" * 30_000 + "' %}{{ a }}",
    "spaces": "{{" + " " * 60_000 + "x",
}


def templates() -> Iterator[str]:
    """Every hostile template, always the same ones in the same order."""
    for template in _made():
        yield DOUBLED + template if "nested" in template else template


def _made() -> Iterator[str]:
    seeds = list(SEEDS.values())
    for number, name in enumerate(sorted(_sandbox().filters)):
        if name.startswith("__"):
            continue
        for seed in (seeds[number % len(seeds)], seeds[(number + 3) % len(seeds)]):
            yield "{{ " + seed + " | " + name + ARGUMENTS.get(name, "") + " | string }}"
    for number, operator in enumerate(OPERATORS):
        for seed in (seeds[number % len(seeds)], seeds[(number + 1) % len(seeds)]):
            yield "{{ (" + f" {operator} ".join([seed] * 50) + ") | string }}"
    for method in METHODS:
        yield "{{ ('x' * 1000000)." + method + " | string | list | string }}"
    for number, shape in enumerate(SHAPES.values()):
        for seed in seeds[number % 2 :: 2]:
            yield shape.replace("SEED", seed)
    yield from TEXTS.values()
    yield from TOLD


TOLD = (
    "{{ ('x' * 800000) | wordwrap(1) }}",
    "{{ ([[1] * 1000] * 1000) | sum(start=[]) | length }}",
    "{{ 1.5 | round(99999999, 'ceil') }}",
    "{{ ('a' * 1000000) | regex_replace('a', '\\\\g<0>' * 100) }}",
    "{{ ([{'a': 1}] * 10000) | map(attribute='a' ~ '.a' * 10000) | list }}",
    "{{ ([range(99999)] * 1000) | map('sum') | list | length }}",
    "{{ ('{0}' * 300000).format('x' * 1000) }}",
    "{{ ('%(a)s' * 200000) % {'a': 'x' * 100000} }}",
    "{{ range(99999) | batch(1) | list | string }}",
    "{{ ('x' * 1000000).translate({120: 'y' * 1000}) }}",
    "{{ (1).to_bytes(1000000000, 'big') }}",
    "{% for i in range(9999) %}{% for j in range(49) %}{% if ('x' * 100000) is in ('y' * 1000000) %}a{% endif %}"
    "{% endfor %}{% endfor %}",
    "{% filter center(9999) %}{% for i in range(99999) %}{{ i }}{% endfor %}{% endfilter %}",
    "{{ " + " ~ ".join(["('x' * 1000000)"] * 300) + " }}",
)
"""What others have tried."""

PATTERNS = (
    *("(x+x+)+y", "(x*)*y", "(x|x)*y", "(x|xx)+y", "^(x+)+$", "(?:x?){1000}x{1000}", "(.*)*y", "(.*.*.*)*y"),
    *("^(a|b)*a(a|b){900}$", r"(\w|\d|\s)*y", r"^(\w+\s?)*$", "x*x*x*x*x*x*x*x*y", "((x{1,100}){1,100}){1,100}"),
    *("(x{1000}){1000}", r"\w{1000}y", "|".join("x" * n + "y" for n in range(1, 300)), "(" * 300 + "x" + ")*" * 300),
    *(
        "[" + "x" * 9000 + "]*y",
        "x{999999999}",
        "(?i)(X+X+)+Y",
        "(x(y(z)*)*)*w",
        ".*" * 500 + "y",
        "(?=x+y)",
        r"(x+)\1+y",
    ),
)

PATTERN_TEXTS = ("x" * 100, "x" * 100_000, "xa" * 50_000, "ab" * 50_000, "\u00e4" * 100_000)
