"""From a YAML text to a definition, checked as far as it can be before anything runs.

`read_definition` goes through the tree once and notes every problem with its line and column: keys that do not
belong, wrong types, unknown tasks and inputs, steps that wait for each other, templates that are malformed or mention
what does not exist or runs later.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, NamedTuple

from flujo.kernel.programs import ANY, Retention
from flujo.kernel.programs import KEYS as RETENTION_KEYS

from .definition_keys import STEP_KEYS, TOP, TOP_KEYS, TOP_KEYS_TO_COME, as_meant, check_keys
from .definitions import Definition, StepDefinition
from .documents import Node, Position, Problems, TooManyProblems
from .doubts import doubts
from .flow_reader import FlowReader
from .importing import NO_FILES, Files, read_whole
from .missing_values import needed_env, needed_inputs, uses_of_optional_results
from .other_systems import KEYWORDS_OF_OTHER_SYSTEMS
from .parameters import KEYWORDS, TYPES, Parameter, declare, from_default, keyword_problems
from .reading import NodeReader, has_value, kind_of
from .registry import Mention, Tasks
from .result_fields import unknown_fields
from .settings_reader import SettingsReader
from .step_order import StepOrder, read_order
from .step_reader import StepReader
from .template_checks import TemplateChecks
from .wording import nearest

_UNDECLARED = "`{0}` is not declared under `params`: a run has it only if somebody gives it; declare it with a default"


def read_definition(text: str, file: str, tasks: Tasks, files: Files = NO_FILES) -> Definition:
    """Return the definition in `text`; raises DefinitionError with every problem there is. `files` are those that it
    may import."""
    problems = Problems(file)
    reader = _Reader(problems, tasks)
    definition = None
    try:
        root, text = read_whole(text, problems, files)
        definition = None if root is None else reader.definition(root, text)
    except TooManyProblems:
        pass
    problems.raise_if_any()
    assert definition is not None
    optional = uses_of_optional_results(definition, definition.uses)
    undeclared = [(at, _UNDECLARED.format(name)) for name, at in definition.undeclared.items()]
    found = [*optional, *undeclared, *reader.idle, *doubts(definition, reader.places)]
    return definition._replace(
        needed_env=needed_env(definition, definition.uses),
        needed_inputs=needed_inputs(definition, definition.uses),
        warnings=tuple(dict.fromkeys(problems.at(at, message) for at, message in found)),
    )


TAKEN_AS_WRITTEN = {
    "labels": "give it when the run is started: `flujoctl run FILE --label NAME=TEXT`",
    "settings": "write it where the setting is used",
    "env_files": "write the path, which counts from this file",
}
"""Keys whose texts are no templates, with the way out for each."""


class _Reader(NodeReader):
    """Turns nodes into values and notes what is wrong with them; a value that is wrong becomes a harmless one."""

    def __init__(self, problems: Problems, tasks: Tasks) -> None:
        super().__init__(problems)
        self._problems = problems
        self._tasks = tasks
        self.places: dict[str, Position] = {}  # of the names of steps
        self.idle: list[tuple[Position, str]] = []  # what does nothing here

    def definition(self, root: Node, text: str) -> Definition | None:
        if not isinstance(root.value, dict):
            self._add(root.at, f"a workflow is a mapping with `name` and `steps`, not {kind_of(root)}")
            return None
        check_keys(root, self._problems, TOP, TOP_KEYS, TOP_KEYS_TO_COME)
        root = as_meant(root, TOP, TOP_KEYS)
        top = root.value
        for key in ("name", "steps"):
            if key not in top:
                self._add(Position(1, 1), f"`{key}` is missing")
        parameters = self._read_parameters(top.get("params"))
        nodes = self._read_step_nodes(top.get("steps"))
        for_all = SettingsReader(self._problems)
        nodes = for_all.with_defaults(nodes, top.get("defaults"))
        order = read_order(nodes, self._problems)
        self.places = order.steps
        templates = TemplateChecks(self._problems, parameters, order)
        templates.secrets = secrets = self._read_secrets(top.get("secrets"))
        reader = StepReader(self._problems, self._tasks, order, templates, for_all.of_all)
        steps = [step for node in nodes if (step := reader.step(node)) is not None]
        settings = for_all.settings(top.get("settings"), root)
        self.idle.extend(for_all.idle(root, order.graph is not None))
        self._refuse_templates(top, templates)
        env = self._read_env(top.get("env"), for_all, templates)
        version = self._text(top.get("version"), "`version`")
        outputs = self._read_outputs(top.get("outputs"), templates, order)
        for at, problem in unknown_fields(steps, templates.uses):
            self._add(at, problem)
        flows, default_flow = FlowReader(self._problems, nodes, templates).read(top.get("flows"))
        return Definition(
            name=self._title(top.get("name")),
            text=text,
            steps=tuple(_with_mentions(step, templates.mentions, settings, version, env) for step in steps),
            graph=order.graph,
            max_parallel=for_all.max_parallel(root),
            description=self._text(top.get("description"), "`description`"),
            version=version,
            parameters=(*parameters.values(), *(Parameter(name=name) for name in templates.undeclared)),
            undeclared=templates.undeclared,
            outputs=outputs,
            labels=self._read_labels(top.get("labels")),
            timeout_seconds=for_all.timeout(root),
            settings=settings,
            retention=self._read_retention(top.get("retention")),
            secrets=secrets,
            env=env.written,
            env_files=for_all.env_files(top.get("env_files")),
            env_names=frozenset(templates.env_names - {*secrets}),
            waiting_unsaid=frozenset(order.unsaid),
            uses=tuple(templates.uses),
            flows=flows,
            default_flow=default_flow,
        )

    def _refuse_templates(self, top: dict[str, Node], templates: TemplateChecks) -> None:
        """Refuse templates where none is rendered: a run would go on with their braces."""
        for key, way in TAKEN_AS_WRITTEN.items():
            templates.refuse(top.get(key), f"what `{key}` holds", way)
        declared = top["params"].value if "params" in top else None
        for name, declaration in declared.items() if isinstance(declared, dict) else ():
            default = declaration.value.get("default") if isinstance(declaration.value, dict) else declaration
            written = f"{{{{ args.{name} | default(…) }}}}"
            templates.refuse(default, f"the default of `{name}`", f"write it where it is used: {written}")

    def _read_env(self, node: Node | None, for_all: SettingsReader, templates: TemplateChecks) -> Variables:
        written = for_all.env(node)
        if node is None:
            return Variables({}, set())
        seen = len(templates.uses)
        templates.check(node, ())
        mentioned = templates.mentioned_since(seen)
        for name in templates.secrets:
            if name in written or {("env", name), ("secrets", name), ("secrets", None)} & mentioned:
                told = "commands see it anyway, and `env` of a step can hold what is made of it"
                self._add(node.at, f"`{name}` is a secret, which `env` of the workflow cannot hold; {told}")
        return Variables(written, mentioned)

    def _read_step_nodes(self, node: Node | None) -> list[Node]:
        """Return the nodes of the steps that are mappings."""
        if node is None:
            return []
        node = self._listed_steps(node)
        if not isinstance(node.value, list):
            self._add(node.at, f"`steps` must be a list of steps, or a mapping of their names, not {kind_of(node)}")
            return []
        if not node.value:
            self._add(node.at, "`steps` must have at least one step")
        for item in node.value:
            if not isinstance(item.value, dict):
                self._add(item.at, f"a step is a mapping with `name` and `task`, not {kind_of(item)}")
        return [as_meant(item, "a step", STEP_KEYS) for item in node.value if isinstance(item.value, dict)]

    def _read_parameters(self, node: Node | None) -> dict[str, Parameter]:
        read: dict[str, Parameter] = {}
        for name, declaration in self._mapping(node, "`params`").items():
            assert node is not None
            if not name.isidentifier():
                self._add(node.keys[name], f"`{name}` is not a parameter name: letters, digits and _, no digit first")
            read[name] = Parameter(name=name)
            if declaration.value is None:
                continue
            if not isinstance(declaration.value, dict):
                read[name] = self._plain_default(name, declaration)
                continue
            keywords = declaration.plain()
            found = keyword_problems(keywords)
            others = (each for each in keywords if each in KEYWORDS_OF_OTHER_SYSTEMS)
            found |= {each: KEYWORDS_OF_OTHER_SYSTEMS[each] for each in others if nearest(each, KEYWORDS) is None}
            if (
                found
                and found.keys() == keywords.keys()
                and not any(each in KEYWORDS_OF_OTHER_SYSTEMS or nearest(each, KEYWORDS) for each in keywords)
            ):
                text = "a mapping as a default is written {default: {…}}"
                self._add(declaration.at, f"parameter `{name}`: {text}; the keywords are: {', '.join(KEYWORDS)}")
                continue
            is_default = not any(each in KEYWORDS for each in keywords)
            for keyword, problem in found.items():
                if is_default and keyword in KEYWORDS_OF_OTHER_SYSTEMS:
                    problem += "; a mapping as a default is written {default: {…}}"
                known = declaration.value[keyword]
                unknown_keyword = keyword not in KEYWORDS
                self._add(declaration.keys[keyword] if unknown_keyword else known.at, f"parameter `{name}`: {problem}")
            if not found:
                read[name] = declare(name, keywords)
        return read

    def _plain_default(self, name: str, node: Node) -> Parameter:
        if isinstance(node.value, str) and node.value in TYPES:
            told = f"write {{type: {node.value}}} for the type, or {{default: {node.value}}} for the text"
            self._add(node.at, f"parameter `{name}`: {node.value} may be its type or its default; {told}")
        return from_default(name, node.plain())

    def _read_outputs(self, node: Node | None, templates: TemplateChecks, order: StepOrder) -> dict[str, Any] | None:
        if node is None:
            return None
        outputs = self._mapping(node, "`outputs`")
        templates.check(node, list(order.steps))
        return {key: value.plain() for key, value in outputs.items()}

    def _read_secrets(self, node: Node | None) -> tuple[str, ...]:
        """Read the names of environment variables, one or a list."""
        if node is None or node.value is None:
            return ()
        names: list[str] = []
        for item in node.value if isinstance(node.value, list) else [node]:
            if not isinstance(item.value, str) or not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]{0,200}", item.value):
                self._add(item.at, f"`secrets` lists names of environment variables, not {kind_of(item)}")
            elif item.value in names:
                self._add(item.at, f"`{item.value}` is here twice")
            else:
                names.append(item.value)
        return tuple(names)

    def _read_retention(self, node: Node | None) -> Retention | None:
        given = self._mapping(node, "`retention`")
        if node is None or not isinstance(node.value, dict):
            return None
        check_keys(node, self._problems, "`retention`", RETENTION_KEYS)
        last = self._number(given.get("last"), "last")
        ages = {key: self._duration(given.get(key), f"`{key}`", zero=True) for key in RETENTION_KEYS if key != "last"}
        if not any(has_value(node, key) for key in RETENTION_KEYS):
            self._add(node.at, "`retention` says nothing; it has: " + ", ".join(RETENTION_KEYS))
        if last is None and all(age is None for age in ages.values()):
            return None
        return Retention(last=last, **ages)

    def _read_labels(self, node: Node | None) -> dict[str, str]:
        labels: dict[str, str] = {}
        for key, value in self._mapping(node, "`labels`").items():
            if isinstance(value.value, (dict, list)) or value.value is None:
                self._add(value.at, f"label `{key}` must be text, not {kind_of(value)}")
            labels[key] = value.source
        return labels


class Variables(NamedTuple):
    """The variables of a definition, and what their templates mention."""

    written: Mapping[str, Any]
    mentioned: set[Mention]


def _with_mentions(
    step: StepDefinition,
    mentions: Mapping[str, set[Mention]],
    settings: Mapping[str, Any],
    version: str | None,
    env: Variables,
) -> StepDefinition:
    """Return a step with the parameters that it mentions, and what it reads of the definition itself."""
    of_items = mentions.get(f"{step.name}[]", set())
    mentioned = mentions.get(step.name, set()) | of_items
    reads_env = step.called.runs_commands or any(("env", name) in mentioned for name in env.written)
    if reads_env:
        mentioned = mentioned | env.mentioned
    wanted = {name for root, name in mentioned if root == "settings"}
    reads = {f"settings.{name}": value for name, value in settings.items() if wanted & {name, None}}
    if version is not None and mentioned & {("workflow", "version"), ("workflow", None)}:
        reads["workflow.version"] = version
    if reads_env and env.written:
        reads["env"] = env.written
    loop = None if step.loop is None else step.loop._replace(mentions=_parameters(of_items))
    return step._replace(mentions=_parameters(mentioned), reads=reads, loop=loop)


def _parameters(mentioned: set[Mention]) -> frozenset[str]:
    return frozenset(ANY if name is None else name for root, name in mentioned if root == "args")
