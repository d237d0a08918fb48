"""What the templates of a definition mention, checked against what it declares and against the order of its steps."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping

from .definitions import Use
from .documents import Node, Position, Problems
from .foreign_braces import go_mark
from .marks import References, in_braces, is_template
from .mixed_conditions import as_one_expression
from .other_systems import NAMES_OF_OTHER_SYSTEMS
from .parameters import Parameter
from .places import place_in
from .registry import Mention
from .step_order import AT_THE_END, StepOrder
from .templates import LOOP_NAMES, ROOT_NAMES, STEP_FIELDS, TemplateError, condition_references, references
from .wording import like, nearest, shown, unknown, unlike

MAX_TEMPLATES = 20_000
"""Parts of all templates of a definition: reading takes about 30 µs for each."""

MAX_PLACED = 128 * 1024
"""Characters of templates in which the places of problems are looked for, one by one; any other is told where its
template begins."""

MAX_UNDECLARED = 50
"""Names that are not declared and are compared with those that are."""


class TemplateChecks:
    """Notes what is wrong with templates, and gathers what they mention.

    `uses` are the templates in the order of the file, `env_names` the variables they mention, and `mentions` by step
    the names in its inputs and condition. `undeclared` are parameters that they take out of `args`, with a place.
    the names in its inputs and condition. `secrets` are those that are declared.
    """

    def __init__(self, problems: Problems, parameters: Mapping[str, Parameter], order: StepOrder) -> None:
        self.uses: list[Use] = []
        self.env_names: set[str] = set()
        self.mentions: dict[str, set[Mention]] = {}
        self.undeclared: dict[str, Position] = {}
        self.secrets: Collection[str] = ()
        self._problems = problems
        self._add = problems.add
        self._parameters = parameters
        self._order = order
        self._parts = 0
        self._room = MAX_PLACED

    def check(
        self,
        node: Node,
        before: Collection[str],
        name: str | None = None,
        of_loop: frozenset[str] = frozenset(),
        *,
        binds: bool = True,
        also: frozenset[str] = frozenset(),
    ) -> None:
        """Check each template at or below a node of step `name`, which the steps `before` come before. `of_loop` are
        the names that a loop gives to its items, `also` others that are seen besides; with `binds` the step is bound by
        what they mention."""
        seen = len(self.uses)
        for scalar in node.scalars():
            if isinstance(scalar.value, str) and is_template(scalar.value):
                is_certain = binds and not of_loop
                self._check_references(scalar, references, before, name, of_loop | also, is_certain=is_certain)
        if name is not None and binds:
            self._mention_uses(f"{name}[]" if of_loop else name, seen, of_loop)

    def check_condition(
        self, node: Node, before: Collection[str], name: str, also: frozenset[str] = frozenset()
    ) -> None:
        """Check a condition, which is a template or a bare expression; it sees the names `also` besides."""
        seen = len(self.uses)
        if (meant := as_one_expression(node.value)) is not None:
            told = "with braces around parts of it a condition is a text, and never true or false; write it as one"
            self._add(node.at, f"{told} expression: {shown(meant)}")
        self._check_references(node, condition_references, before, name, also)
        self._mention_uses(name, seen)
        self._mention_uses(f"{name}[]", seen)

    def refuse(self, node: Node | None, place: str, way: str) -> None:
        """Note each template at or below a node that is taken as it is written. Braces that mention no name of a run
        are meant for others."""
        for scalar in () if node is None else node.scalars():
            if not isinstance(scalar.value, str) or not is_template(scalar.value):
                continue
            try:
                mentioned = references(scalar.value)
            except TemplateError:
                continue
            if mentioned.steps or mentioned.env or mentioned.roots & {*ROOT_NAMES, *self._parameters}:
                self._add(scalar.at, f"{place} is taken as it is written, and no template is rendered in it; {way}")

    def mention(self, step: str, mentions: Iterable[Mention]) -> None:
        """Note names that a step mentions."""
        for root, name in mentions:
            if root == "env" and name is not None:
                self.env_names.add(name)
            self.mentions.setdefault(step, set()).add((root, name))

    def _mention_uses(self, step: str, since: int, of_loop: frozenset[str] = frozenset()) -> None:
        """Note for a step, or as `NAME[]` for the items of a loop, what the templates mention that were checked as
        number `since` and later."""
        for use in self.uses[since:]:
            self.mention(step, (each for each in use.mentioned.members if each not in _args(of_loop)))
            roots = use.mentioned.roots & self._parameters.keys() - of_loop
            self.mention(step, (("args", root) for root in roots))
            self.mention(step, (("env", name) for name in use.mentioned.env))

    def mentioned_since(self, since: int) -> set[Mention]:
        """Return what the templates mention that were checked as number `since` and later."""
        found: set[Mention] = set()
        for use in self.uses[since:]:
            found |= {("env", name) for name in use.mentioned.env}
            found |= {
                *use.mentioned.members,
                *(("args", root) for root in use.mentioned.roots & self._parameters.keys()),
            }
        return found

    def unguarded_uses(self) -> Iterator[tuple[Use, frozenset[str]]]:
        """Yield each template with the steps whose result it uses without a `default`, and no condition asks about."""
        asked: dict[str | None, frozenset[str]] = {
            use.step: use.mentioned.steps for use in self.uses if use.is_condition
        }
        for use in self.uses:
            yield (
                use,
                use.mentioned.bare_results - (frozenset() if use.is_condition else asked.get(use.step, frozenset())),
            )

    def _check_references(
        self,
        node: Node,
        read: Callable[[str], References],
        before: Collection[str],
        name: str | None,
        of_loop: frozenset[str] = frozenset(),
        *,
        is_certain: bool = True,
    ) -> None:
        if self._parts > MAX_TEMPLATES:
            return
        try:
            mentioned = read(node.value)
        except TemplateError as error:
            self._add(self.place(node, error.place), error.message)
            return
        is_maybe_of_go = mentioned.roots & MAYBE_OF_GO - {*self._parameters, *of_loop} or "range" in node.value
        if is_maybe_of_go and (mark := go_mark(node.value)) is not None:
            self._add(self.place(node, mark.place), mark.problem)
            return
        self._parts += mentioned.size
        if self._parts > MAX_TEMPLATES:
            self._add(node.at, f"all templates of a definition have at most {MAX_TEMPLATES} parts, here are more")
            return
        self.uses.append(Use(node.at, mentioned, name, read is condition_references, is_certain))
        self.env_names |= mentioned.env
        known = {*ROOT_NAMES, *self._parameters, *of_loop}
        behind_dashes = self._behind_dashes(mentioned.steps)
        for root in sorted(mentioned.roots - known - {"range", "dict"} - behind_dashes):
            told = _ONLY_IN_LOOPS.format(root) if root in LOOP_NAMES else _unknown_name(root, known)
            self._add(self._place_of(node, root), f"{told} (in a template)")
        for parameter in sorted(mentioned.parameters - self._parameters.keys() - of_loop):
            self._note_undeclared(parameter, node)
        for root, secret in sorted(mentioned.members, key=str):
            if root == "secrets" and secret is not None and secret not in self.secrets:
                declared = ", ".join([*self.secrets, secret])
                at = self._place_of(node, "secrets", secret)
                self._add(at, f"`{secret}` is not among the secrets; write `secrets: [{declared}]` at the top")
            if root == "workflow" and secret is not None and secret not in WORKFLOW_FIELDS:
                told = f"`workflow` has no `{secret}`; it has: {', '.join(WORKFLOW_FIELDS)}"
                way = "; write `args.NAME` for a parameter" if secret in ("parameters", "params", "inputs") else ""
                self._add(self._place_of(node, "workflow", secret), f"{told}{way}")
        for step in sorted(mentioned.steps):
            if (problem := self._problem_with_step(step, before, name)) is not None:
                self._add(self._place_of(node, "steps", step), problem)
        for step, each in sorted(mentioned.fields):
            if step in self._order.steps and each not in STEP_FIELDS:
                at = self._place_of(node, "steps", step, each)
                self._add(at, f"`steps.{step}` has no `{each}`; it has: {', '.join(STEP_FIELDS)}")
        if mentioned.computed_env:
            told = "the name of a variable in `env` must be written out, so that it can be recorded"
            self._add(self._place_of(node, "env"), told)

    def _place_of(self, node: Node, *way: str) -> Position:
        """Return where a template, or a condition, uses `a.b`, given as its parts."""
        from .expressions import place_of_member  # only when something is wrong

        text: str = node.value
        if len(text) > self._room:
            return node.at
        if is_template(text):
            return self.place(node, place_of_member(text, *way))
        before = len("{{ ") - (len(text) - len(text.lstrip()))
        return self.place(node, place_of_member(in_braces(text), *way) - before)

    def place(self, node: Node, place: int) -> Position:
        """Return where a character of a text stands; where the text begins, if that is its first one or not known."""
        text = self._problems.texts.get(node.at.file)
        if place <= 0:
            return node.at
        self._room -= len(node.value)
        return node.at if text is None or self._room < 0 else place_in(text, node.at, node.value, place)

    def _note_undeclared(self, parameter: str, node: Node) -> None:
        """Note a parameter that is not declared and may be given all the same, unless its name is nearly another's."""
        if parameter in self.undeclared:
            return
        is_compared = len(self.undeclared) < MAX_UNDECLARED  # which takes time
        near = nearest(parameter, sorted(self._parameters)) if is_compared else None
        if near is not None:
            self._add(self._place_of(node, "args", parameter), f"{like('parameter', parameter, near)} (in a template)")
        elif parameter.isidentifier():
            self.undeclared[parameter] = node.at
        else:
            told = unlike("parameter", parameter, self._parameters)
            self._add(self._place_of(node, "args", parameter), f"{told} (in a template)")

    def _behind_dashes(self, steps: frozenset[str]) -> set[str]:
        """Return the names that `steps.a-b` seems to mention: what is meant is told for `steps.a`."""
        missing = tuple(f"{step}-" for step in steps if step not in self._order.steps)
        longer = [each for each in self._order.steps if each.startswith(missing)] if missing else []
        return {part for each in longer for part in each.replace(".", "-").split("-")}

    def _problem_with_step(self, step: str, before: Collection[str], name: str | None) -> str | None:
        if step in before:
            return None
        if step == name:
            return f"step `{step}` cannot refer to itself"
        if step in self._order.left_for_the_end:
            return AT_THE_END.format(step)
        if step in self._order.steps and self._order.graph is not None:
            return f"step `{step}` may not have run before this one; add it to `depends_on`"
        if step in self._order.steps:
            return f"step `{step}` runs later than this one"
        longer = [each for each in self._order.steps if each.startswith((f"{step}-", f"{step}."))]
        if longer:
            return f"there is no step `{step}`; for `{longer[0]}` write steps['{longer[0]}']"
        return unknown("step", step, self._order.steps)


_ONLY_IN_LOOPS = (
    "`{}` is known only in the inputs of what a loop (`for_each`, `batch`) calls; its list and its condition are read "
    "once, before it begins"
)


WORKFLOW_FIELDS = ("name", "version", "file", "dir")
"""What templates see of `workflow`."""

MAYBE_OF_GO = frozenset({"end", "else", "if", "with", "len", "not", "json", "index", "define", "block"})
"""Names that a template mentions whose braces may be of a Go template: `{{ len .Items }}` reads as `len.Items`."""


def _unknown_name(name: str, known: Collection[str]) -> str:
    """Return why a name is refused: what it is called here if other systems have it, unless one like it is declared."""
    meant = NAMES_OF_OTHER_SYSTEMS.get(name)
    if meant is None or nearest(name, {*known}.difference(ROOT_NAMES)) is not None:
        return unknown("name", name, known)
    return f"there is no name `{name}`; write {meant if '`' in meant else f'`{meant}`'}"


def _args(names: Collection[str]) -> set[Mention]:
    return {("args", name) for name in names}


def has_template(node: Node) -> bool:
    """True if any text at or below a node is a template."""
    return any(isinstance(each.value, str) and is_template(each.value) for each in node.scalars())
