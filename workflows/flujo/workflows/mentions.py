"""What a template mentions by name: its tree, which only Jinja2 can read, as `References`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import cast

from jinja2 import Environment, meta, nodes

from .marks import References
from .sandbox import parts_of

_CHANGING = ("args", "secrets", "settings", "workflow")
"""Names whose values a resume may change."""


def mentions_of(tree: nodes.Template) -> References:
    """Return what a template mentions."""
    parts = list(parts_of(tree))
    roots = _free_names(tree, parts)
    steps: set[str] = set()
    fields: set[tuple[str, str]] = set()
    parameters: set[str] = set()
    env: set[str] = set()
    computed_env = False
    named_steps = 0
    taken: list[tuple[str, str | None]] = []
    for owner, name in _members(parts):
        root = owner.name if isinstance(owner, nodes.Name) else None
        if root is None and name is not None and (step := _step_of(owner)) is not None:
            fields.add((step, name))
        elif root not in roots:
            continue
        elif root == "env":
            computed_env |= name is None
            if name is not None:
                env.add(name)
        elif root == "steps" and name is not None:
            steps.add(name)
            named_steps += 1
        elif root in _CHANGING:
            taken.append((root, name))
            if root == "args" and name is not None:
                parameters.add(name)
    uses = Counter(node.name for node in parts if isinstance(node, nodes.Name))
    bare = list(_bare(tree, False))
    named = Counter(root for root, _ in taken)
    as_a_whole = {(root, None) for root in _CHANGING if root in roots and uses[root] != named[root]}
    return References(
        roots=frozenset(roots),
        steps=frozenset(steps),
        fields=frozenset(fields),
        parameters=frozenset(parameters),
        env=frozenset(env),
        computed_env=computed_env,
        computed_step=uses["steps"] != named_steps,
        bare_env=frozenset(name for owner, name in bare if owner == "env"),
        bare_inputs=frozenset(name for owner, name in bare if owner == "args" or (owner == "" and name in roots)),
        bare_results=frozenset(name for owner, name in bare if owner == "steps"),
        bare_fields=frozenset(_bare_fields(tree, False) if "steps" in roots else ()),
        members=frozenset({*taken, *as_a_whole}),
        size=len(parts),
    )


def _free_names(tree: nodes.Template, parts: Iterable[nodes.Node]) -> set[str]:
    """Return the names that a template uses and does not make itself, apart from functions that are always there."""
    found: set[str] = set()
    for node in parts:
        if isinstance(node, _MAKING_NAMES):
            scopes = meta.TrackingCodeGenerator(cast(Environment, tree.environment))
            scopes.optimizer = None  # or it would evaluate what is constant, with whatever that raises and takes
            scopes.visit(tree)
            return scopes.undeclared_identifiers
        if isinstance(node, nodes.Name):
            found.add(node.name)
    return {name for name in found if name not in tree.environment.globals} if tree.environment else found


_MAKING_NAMES = (*(nodes.For, nodes.Macro, nodes.CallBlock, nodes.With, nodes.Assign, nodes.AssignBlock),)
"""The statements that make names, of those that `Sandbox` supports: Jinja2 itself has to tell the scopes of these."""


def _members(parts: Sequence[nodes.Node]) -> Iterator[tuple[nodes.Expr, str | None]]:
    """Yield each `a.b`, `a['b']` and `a.get('b')` as (a, "b"); a computed "b" as (a, None)."""
    calls = [node for node in parts if isinstance(node, nodes.Call)]
    methods = {id(call.node) for call in calls}
    for call in calls:
        method = call.node
        if isinstance(method, nodes.Getattr) and method.attr == "get" and call.args:
            yield method.node, _constant(call.args[0])
    for node in parts:
        if isinstance(node, nodes.Getattr):
            if id(node) not in methods:
                yield node.node, node.attr
        elif isinstance(node, nodes.Getitem):
            yield node.node, _constant(node.arg)


def _bare(node: nodes.Node, is_covered: bool) -> Iterator[tuple[str, str]]:
    """Yield ("env", variable), ("args", parameter), ("steps", step) and ("", name) for each that has to be there, or
    the template fails.

    What is covered may be missing; what stands behind a condition is not asked for.
    """
    if isinstance(node, (nodes.Getattr, nodes.Getitem)) and not is_covered:
        name = node.attr if isinstance(node, nodes.Getattr) else _constant(node.arg)
        if name is not None and isinstance(node.node, nodes.Name) and node.node.name in ("env", "args"):
            yield node.node.name, name
        if name == "result" and (step := _step_of(node.node)) is not None:
            yield "steps", step
    elif isinstance(node, nodes.Name) and not is_covered:
        yield "", node.name
    for child in _surely_evaluated(node):
        yield from _bare(child, is_covered=_covers(node, child, is_covered))


def _bare_fields(node: nodes.Node, is_covered: bool) -> Iterator[tuple[str, str]]:
    """Yield (step, field) for each `steps.STEP.result.FIELD` that has to be there, wherever in a template it stands."""
    if isinstance(node, (nodes.Getattr, nodes.Getitem)) and not is_covered:
        name, owner = node.attr if isinstance(node, nodes.Getattr) else _constant(node.arg), node.node
        if name is not None and isinstance(owner, (nodes.Getattr, nodes.Getitem)):
            result = owner.attr if isinstance(owner, nodes.Getattr) else _constant(owner.arg)
            if result == "result" and (step := _step_of(owner.node)) is not None:
                yield step, name
    for child in node.iter_child_nodes():
        yield from _bare_fields(child, is_covered=_covers(node, child, is_covered))


def _surely_evaluated(node: nodes.Node) -> Iterable[nodes.Node]:
    match node:
        case nodes.CondExpr(test=test) | nodes.If(test=test):
            return [test]
        case nodes.And(left=left) | nodes.Or(left=left):
            return [left]
        case nodes.For(iter=items):
            return [items]
        case nodes.Macro() | nodes.CallBlock():
            return []
    return node.iter_child_nodes()


def _covers(node: nodes.Node, child: nodes.Node, is_covered: bool) -> bool:
    """True if `child`, a part of `node`, may be missing: what stands before a `default`, a test or in a `get`."""
    match node:
        case nodes.Filter(name="default" | "d") | nodes.Test(name="defined" | "undefined"):
            return True
        case nodes.Call(node=nodes.Getattr(attr="get")):
            return True
        case nodes.Filter(node=value) | nodes.Getattr(node=value) | nodes.Getitem(node=value) | nodes.Call(node=value):
            return is_covered and child is value
    return False


def _step_of(node: nodes.Expr) -> str | None:
    """Return the name in `steps.NAME` or `steps['NAME']`."""
    if not isinstance(node, (nodes.Getattr, nodes.Getitem)):
        return None
    if not isinstance(node.node, nodes.Name) or node.node.name != "steps":
        return None
    return node.attr if isinstance(node, nodes.Getattr) else _constant(node.arg)


def _constant(node: nodes.Expr) -> str | None:
    return node.value if isinstance(node, nodes.Const) and isinstance(node.value, str) else None
