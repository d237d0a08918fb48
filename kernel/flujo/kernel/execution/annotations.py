"""Read the annotations of a function, each by itself: one that cannot be resolved says nothing about the others."""

from __future__ import annotations

import inspect
import sys
import typing
from collections.abc import Callable, Mapping
from functools import partial
from types import SimpleNamespace
from typing import Any

from flujo.kernel.errors import DeclarationError


class UnresolvedAnnotationError(DeclarationError):
    """An annotation names something that is not defined where the function stands, or not yet."""


def annotation_of(function: Callable[..., Any], name: str, default: Any = Any) -> Any:
    """Return the annotation of a parameter, or with `return` of what is returned; `default` where there is none.

    Raises UnresolvedAnnotationError, which names the function, the parameter and what helps."""
    source = _source(function)
    what = f"{'the return type' if name == 'return' else f'the parameter {name!r}'} of {called(function)!r}"
    try:
        written = _written(source)
    except Exception as error:  # Python 3.14 evaluates annotations only now, all those of a function at once
        raise _raising(f"an annotation of {called(function)!r}", error) from error
    if name not in written:
        return default
    holder = SimpleNamespace(__annotations__={name: written[name]})
    scope = getattr(source, "__globals__", {})
    try:
        return typing.get_type_hints(holder, scope, _closed_over(source), include_extras=True)[name]
    except (NameError, AttributeError, SyntaxError, TypeError) as error:
        raise UnresolvedAnnotationError(
            f"{what} is annotated with {_shown(written[name])}, which cannot be resolved: {error}",
            [
                "import or define the name at the top of the module, outside of `if TYPE_CHECKING`",
                "or annotate it with Any",
            ],
        ) from error
    except Exception as error:  # an expression that has no value, now or later
        raise _raising(f"{what} is annotated with {_shown(written[name])}, which", error) from error


def _raising(what: str, error: Exception) -> DeclarationError:
    return DeclarationError(f"{what} raises {type(error).__name__}: {error}", ["annotate it with a type, or with Any"])


def called(function: Any) -> str:
    """Return the name of a callable, or of its class."""
    return getattr(function, "__name__", None) or type(function).__name__


def _source(function: Any) -> Any:
    """Return the function that was written down, under decorators, partial applications and objects that are
    callable."""
    inner = inspect.unwrap(function)
    while isinstance(inner, partial):
        inner = inspect.unwrap(inner.func)
    if not (inspect.isroutine(inner) or inspect.isclass(inner)):
        inner = inspect.unwrap(type(inner).__call__)
    return getattr(inner, "__func__", inner)


def _written(source: Any) -> Mapping[str, Any]:
    if sys.version_info >= (3, 14):
        import annotationlib

        return annotationlib.get_annotations(source, format=annotationlib.Format.FORWARDREF)
    return getattr(source, "__annotations__", None) or {}


def _closed_over(source: Any) -> dict[str, Any]:
    """Return what the function can see of the one around it, where its annotations may have been written as well."""
    names = getattr(getattr(source, "__code__", None), "co_freevars", ())
    cells = dict(zip(names, getattr(source, "__closure__", None) or (), strict=False))
    return {name: cell.cell_contents for name, cell in cells.items() if _is_filled(cell)}


def _is_filled(cell: Any) -> bool:
    try:
        cell.cell_contents  # noqa: B018
    except ValueError:
        return False
    return True


def _shown(annotation: Any) -> str:
    return getattr(annotation, "__forward_arg__", None) or str(annotation)
