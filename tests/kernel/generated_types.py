"""Types as people declare them, drawn at random, each with a value: models, dataclasses, enums, unions, aliases,
validators, and values that do not belong to their type quite."""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from random import Random
from typing import Annotated, Any, Literal, NamedTuple
from uuid import UUID

from pydantic import BaseModel, BeforeValidator, Field, Json, PlainSerializer, computed_field, create_model
from pydantic.alias_generators import to_camel


class Drawn(NamedTuple):
    """A type and a value for it. One that is `ordinary` has to be recorded; any other may be refused instead."""

    annotation: Any
    value: Any
    ordinary: bool = True


class Draw:
    """Draws types and values from one seed."""

    def __init__(self, seed: int) -> None:
        self.random = Random(seed)
        self.number = 0

    def model(self) -> Drawn:
        """A model, a dataclass, or a container of them."""
        shape = self.random.choice([self.of_model, self.of_model, self.of_dataclass, self.list_of, self.either])
        return shape(2)

    def any(self, depth: int) -> Drawn:
        """Any type, with models inside of it up to a depth."""
        leaves = [self.scalar, self.scalar, self.enumeration, self.constrained, self.changed, self.embedded]
        nested = [self.of_model, self.of_dataclass, self.list_of, self.mapping, self.pair, self.either, self.optional]
        return self.random.choice(leaves if depth == 0 else leaves + nested)(depth - 1)

    def scalar(self, depth: int) -> Drawn:
        pick = self.random
        makers: list[tuple[Any, Callable[[], Any]]] = [
            (int, lambda: pick.randrange(-(10**9), 10**9)),
            (float, lambda: pick.choice([0.0, 1e-9, 3, 2.5, 1e300, pick.random()])),
            (str, lambda: pick.choice(["", "a", "Zürich", '"quoted"', "1", "null", "2026-01-01"])),
            (bool, lambda: pick.random() < 0.5),
            (bytes, lambda: pick.choice([b"", b"plain"])),
            (datetime, lambda: datetime(2026, 10, pick.randrange(1, 29), 1, 30, microsecond=pick.randrange(10**6))),
            (datetime, lambda: datetime(2026, 10, 25, 2, 30, tzinfo=pick.choice([UTC, timezone(timedelta(hours=1))]))),
            (date, lambda: date(2026, 1, pick.randrange(1, 29))),
            (timedelta, lambda: timedelta(seconds=pick.randrange(10**6), microseconds=pick.randrange(10**6))),
            (Decimal, lambda: Decimal(pick.choice(["1.10", "0", "-3.5", "1E+5"]))),
            (UUID, lambda: UUID(int=pick.getrandbits(128))),
            (set[int], lambda: {1, 2, 3}),
            (frozenset[str], lambda: frozenset("ab")),
        ]
        annotation, make = pick.choice(makers)
        return Drawn(annotation, make())

    def enumeration(self, depth: int) -> Drawn:
        base = self.random.choice([str, int, None])
        members = {"A": 1, "B": 2} if base is int else {"A": "a", "B": "b"}
        kind: Any = enum.Enum(self.name("Kind"), members, type=base)  # type: ignore[misc]
        if self.random.random() < 0.3:
            return Drawn(Literal["x", 1], self.random.choice(["x", 1]))
        return Drawn(kind, kind["A"])

    def constrained(self, depth: int) -> Drawn:
        return Drawn(Annotated[int, Field(ge=0, lt=10)], self.random.randrange(-5, 10), ordinary=False)

    def changed(self, depth: int) -> Drawn:
        """A validator or a serializer that changes values, so that twice is not once."""
        twice = Annotated[int, BeforeValidator(lambda value: value * 2)]
        stripped = Annotated[str, Field(max_length=20), BeforeValidator(lambda value: value.strip())]
        hidden = Annotated[str, PlainSerializer(lambda value: "***")]
        annotation = self.random.choice([twice, stripped, hidden])
        return Drawn(annotation, 3 if annotation is twice else " a ", ordinary=False)

    def embedded(self, depth: int) -> Drawn:
        return Drawn(Json[list[int]], [1, 2])

    def list_of(self, depth: int) -> Drawn:
        inner = self.any(max(depth, 0))
        return Drawn(list[inner.annotation], [inner.value] * self.random.randrange(3), inner.ordinary)  # type: ignore[name-defined]

    def mapping(self, depth: int) -> Drawn:
        inner = self.any(max(depth, 0))
        key, name = self.random.choice([(str, "k"), (int, 5)])
        return Drawn(dict[key, inner.annotation], {name: inner.value}, inner.ordinary)  # type: ignore[name-defined, valid-type]

    def pair(self, depth: int) -> Drawn:
        one, other = self.any(max(depth, 0)), self.any(max(depth, 0))
        value = (one.value, other.value)
        return Drawn(tuple[one.annotation, other.annotation], value, one.ordinary and other.ordinary)  # type: ignore[name-defined]

    def optional(self, depth: int) -> Drawn:
        inner = self.any(max(depth, 0))
        value = None if self.random.random() < 0.4 else inner.value
        return Drawn(inner.annotation | None, value, inner.ordinary and value is None)

    def either(self, depth: int) -> Drawn:
        """One of two types: what is read back may be taken for the other one."""
        one, other = self.any(max(depth, 0)), self.any(max(depth, 0))
        return Drawn(one.annotation | other.annotation, self.random.choice([one.value, other.value]), ordinary=False)

    def of_model(self, depth: int) -> Drawn:
        pick, fields, values, ordinary = self.random, {}, {}, True
        for index in range(pick.randrange(1, 4)):
            inner = self.any(max(depth, 0))
            name = f"field_{index}"
            option = pick.choice(["none", "none", "alias", "validation_alias", "serialization_alias", "default"])
            given: dict[str, Any] = {option: f"alias{index}"} if option.endswith("alias") else {}
            default = inner.value if option == "default" else ...
            fields[name] = (inner.annotation, Field(default, **given))
            values[name] = inner.value
            ordinary = ordinary and inner.ordinary
        kind = self.model_class(fields)
        model = kind.model_construct(**values)
        if pick.random() < 0.1:  # a subclass with a field more, where the class is declared
            heir = create_model(self.name("Heir"), __base__=kind, more=(int, 1))
            return Drawn(kind, heir.model_construct(**values, more=2), ordinary=False)
        return Drawn(kind, model, ordinary)

    def model_class(self, fields: dict[str, Any]) -> type[BaseModel]:
        config: dict[str, Any] = {"extra": self.random.choice(["forbid", "ignore", "allow"])}
        if self.random.random() < 0.2:
            config["alias_generator"] = to_camel
        base = create_model(self.name("Model"), __config__=config, **fields)  # type: ignore[call-overload]
        if self.random.random() < 0.2:

            class Computing(base):  # type: ignore[misc, valid-type]
                @computed_field  # type: ignore[prop-decorator]
                @property
                def computed(self) -> int:
                    return 1

            return Computing
        return base  # type: ignore[no-any-return]

    def of_dataclass(self, depth: int) -> Drawn:
        inner = [self.any(max(depth, 0)) for _ in range(self.random.randrange(1, 4))]
        fields = [(f"field_{index}", each.annotation) for index, each in enumerate(inner)]
        kind = dataclasses.make_dataclass(self.name("Data"), fields, eq=self.random.random() < 0.8)
        return Drawn(kind, kind(*(each.value for each in inner)), all(each.ordinary for each in inner))

    def name(self, base: str) -> str:
        self.number += 1
        return f"{base}{self.number}"
