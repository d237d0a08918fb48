"""What a Python workflow takes and returns: its inputs as they are recorded, and as its function gets them.

Only a workflow that is a function needs this module, and pydantic with it."""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError, create_model
from pydantic.errors import PydanticSchemaGenerationError, PydanticUserError

from flujo.kernel.codecs import Codec, care_of, codec_for, has_strict, mismatch, require_recordable, to_plain
from flujo.kernel.errors import (
    DeclarationError,
    Difference,
    InvalidInputError,
    InvalidValueError,
    OutputTooLargeError,
)
from flujo.kernel.values import encode

from .annotations import annotation_of
from .inputs import Inputs


class Signature:
    """The inputs and the output of one function `async def f(ctx, …)`."""

    def __init__(self, workflow: str, function: Callable[..., Any]) -> None:
        """Read the signature; raises DeclarationError for what no journal can hold or no name can reach."""
        self.workflow = workflow
        self._model, self._is_whole = _inputs_model(workflow, function)
        self._care = care_of(self._model.__pydantic_core_schema__)
        self._is_strict = has_strict(self._model.__pydantic_core_schema__)
        returned = annotation_of(function, "return")
        self.codec: Codec = codec_for(returned, f"the return type of workflow {workflow!r}")

    def recorded(self, inputs: Inputs) -> Inputs:
        """Return inputs as they are recorded: complete and plain JSON, in a form that reads back as what was given.

        Raises InvalidInputError for what the workflow does not take, and for what would be read back otherwise."""
        given = self._validated(inputs)
        written = self._dumped(given)
        found = self._mismatch(given, written)
        if found is not None:
            # A validator changes what it is given. It gets the same again in every life of the run, never its result.
            defaults = {name: written[name] for name in written if name not in given.model_fields_set}
            written = {**defaults, **self._to_plain(inputs)}
            found = self._mismatch(given, written)
        if found is not None:
            raise InvalidInputError(self.workflow, {found[0]: found[1]})
        return written

    def _dumped(self, given: BaseModel) -> Inputs:
        try:
            return given.model_dump(mode="json", round_trip=True, by_alias=False)
        except Exception as error:  # also whatever a serializer of the user's raises
            raise InvalidInputError(self.workflow, {"inputs": str(error)}) from error

    def _to_plain(self, inputs: Inputs) -> Inputs:
        try:
            plain: Inputs = to_plain(inputs)
        except InvalidValueError as error:
            raise InvalidInputError(self.workflow, {"inputs": error.problem}) from error
        return plain

    def _mismatch(self, given: BaseModel, written: Inputs) -> tuple[str, str] | None:
        try:
            found = mismatch(given, self._read(written), self._care)
        except ValidationError as error:
            return next(iter(_problems(error).items()))
        return None if found is None else (found.path.removeprefix("$."), str(found))

    def arguments(self, inputs: Inputs) -> tuple[Sequence[Any], Mapping[str, Any]]:
        """Return what the function is called with behind its context; raises InvalidInputError."""
        checked = self._validated(inputs)
        if self._is_whole:
            return (checked,), {}
        return (), {field: getattr(checked, field) for field in type(checked).model_fields}

    def defaulted(self, inputs: Inputs) -> Sequence[str]:
        """Return the names of the inputs that the caller leaves to their defaults. Raises InvalidInputError."""
        if inputs.keys() >= self._model.model_fields.keys():
            return ()
        given = self._validated(inputs)
        return [name for name in type(given).model_fields if name not in given.model_fields_set]

    def misfits(self, inputs: Inputs) -> Sequence[Difference]:
        """Return how recorded inputs differ from what the function takes now, by name."""
        try:
            self._read(inputs)
        except ValidationError as error:
            return [_difference(name, *what) for name, what in _by_input(error).items()]
        return []

    def without_dropped(self, inputs: Inputs, defaulted: Sequence[str]) -> Inputs:
        """Return recorded inputs without those that were defaults and that the function takes no longer."""
        names = self._model.model_fields
        return {name: value for name, value in inputs.items() if name in names or name not in defaulted}

    def _validated(self, inputs: Inputs) -> BaseModel:
        try:
            return self._read(inputs)
        except ValidationError as error:
            raise InvalidInputError(self.workflow, _problems(error)) from error

    def _read(self, inputs: Inputs) -> BaseModel:
        """Return the model of inputs, of objects as well as of plain JSON; raises ValidationError.

        A strict model takes a text for a date only where it is told that this is JSON."""
        try:
            return self._model.model_validate(inputs, by_alias=True, by_name=True)
        except ValidationError:
            if not self._is_strict or (text := _as_json(inputs)) is None:
                raise
        return self._model.model_validate_json(text, by_alias=True, by_name=True)


def _as_json(inputs: Inputs) -> str | None:
    """Return the JSON text of inputs; None for what has none."""
    try:
        return encode(to_plain(inputs))
    except (InvalidValueError, OutputTooLargeError):
        return None


def _problems(error: ValidationError) -> dict[str, str]:
    return {".".join(map(str, each["loc"])) or "inputs": each["msg"] for each in error.errors(include_url=False)}


def _by_input(error: ValidationError) -> dict[str, tuple[str, str]]:
    """Return the kind and the text of the first error of each input."""
    found: dict[str, tuple[str, str]] = {}
    for each in error.errors(include_url=False):
        found.setdefault(str(each["loc"][0]) if each["loc"] else "", (each["type"], each["msg"]))
    return found


def _difference(name: str, kind: str, message: str) -> Difference:
    place = f"inputs.{name}" if name else "inputs"
    match kind:
        case "extra_forbidden":
            return Difference(place, "removed", "the run was started with it, and the workflow takes it no longer")
        case "missing":
            return Difference(place, "inserted", "the run was started without it, and the workflow needs it now")
        case _:
            return Difference(place, "changed", f"its recorded value no longer fits its type: {message}")


def _inputs_model(workflow: str, function: Callable[..., Any]) -> tuple[type[BaseModel], bool]:
    """Return the pydantic model of a workflow's inputs, and whether the function takes it whole."""
    inputs = _behind_context(workflow, function)
    types = {each.name: annotation_of(function, each.name) for each in inputs}
    for name, annotation in types.items():
        require_recordable(annotation, f"the type of input {name!r} of workflow {workflow!r}")
    if len(inputs) == 1:
        only = types[inputs[0].name]
        if isinstance(only, type) and issubclass(only, BaseModel):
            return only, True
    if (
        own := next((name for name in types if name.startswith("model_") and hasattr(BaseModel, name)), None)
    ) is not None:
        raise DeclarationError(f"workflow {workflow!r}: {own!r} is a name of pydantic's own", ["rename the input"])
    defaults = {each.name: ... if each.default is each.empty else each.default for each in inputs}
    fields: dict[str, Any] = {name: (annotation, defaults[name]) for name, annotation in types.items()}
    try:
        config = ConfigDict(extra="forbid", ser_json_inf_nan="constants", protected_namespaces=())
        with warnings.catch_warnings():  # of an input such as `copy`, which hides a method that nobody calls
            warnings.filterwarnings("ignore", message="Field name .* shadows", category=UserWarning)
            return create_model(f"{workflow}_inputs", __config__=config, **fields), False
    except (PydanticSchemaGenerationError, PydanticUserError, NameError, ValueError) as error:
        raise DeclarationError(
            f"workflow {workflow!r} cannot take its inputs: {error}", ["rename the input"]
        ) from error


def _behind_context(workflow: str, function: Callable[..., Any]) -> Sequence[inspect.Parameter]:
    parameters = list(inspect.signature(function).parameters.values())
    by_place = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    if not parameters or parameters[0].kind not in by_place or _is_data(function, parameters[0]):
        raise DeclarationError(
            f"workflow {workflow!r} must take the context as its first argument", ["async def f(ctx, …)"]
        )
    if parameters[0].name == "self":
        raise DeclarationError(
            f"workflow {workflow!r} is a method of a class: no object of it is there when a run goes on",
            ["declare a function beside the class"],
        )
    for parameter in parameters[1:]:
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD, parameter.POSITIONAL_ONLY):
            raise DeclarationError(f"workflow {workflow!r}: input {parameter.name!r} must be a named argument")
    return parameters[1:]


def _is_data(function: Callable[..., Any], first: inspect.Parameter) -> bool:
    """True if the first parameter is annotated with data, so that the context was forgotten. Its annotation is not
    needed otherwise, and need not be resolvable."""
    try:
        annotation = annotation_of(function, first.name)
    except DeclarationError:
        return False
    plain = (str, bytes, int, float, bool, dict, list, tuple, set)
    return annotation in plain or (isinstance(annotation, type) and issubclass(annotation, BaseModel))
