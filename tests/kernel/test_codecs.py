"""Values of declared types: equal when they are read back, or refused before anything is stored."""

from __future__ import annotations

import dataclasses
import enum
from collections import Counter, OrderedDict, defaultdict, deque
from collections.abc import Callable, Generator
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from pathlib import Path, PurePath, PurePosixPath
from typing import Annotated, Any, Generic, Literal, NamedTuple, NewType, NotRequired, TypeVar
from uuid import UUID
from zoneinfo import ZoneInfo

import pytest
from pydantic import (
    AliasChoices,
    Base64Bytes,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    Json,
    PrivateAttr,
    RootModel,
    Secret,
    SecretBytes,
    SecretStr,
    computed_field,
)
from typing_extensions import TypedDict  # on Python 3.11 pydantic refuses the one of typing

from flujo.kernel.codecs import Codec, codec_for, mismatch, to_plain
from flujo.kernel.errors import DeclarationError, FlujoError, InvalidValueError
from flujo.kernel.values import MAX_DIGITS, encode
from kernel.generated_types import Draw


class Item(BaseModel):
    name: str
    price: float = 0


@dataclass
class Point:
    x: int
    y: int


class Row(TypedDict):
    when: datetime


@pytest.mark.parametrize(
    ("annotation", "value", "recorded"),
    [
        (tuple[int, str], (1, "a"), '[1,"a"]'),
        (Point, Point(1, 2), '{"x":1,"y":2}'),
        (Item, Item(name="tea", price=3), '{"name":"tea","price":3.0}'),
        (list[Item], [Item(name="a")], '[{"name":"a","price":0.0}]'),
        (datetime, datetime(2026, 1, 1, tzinfo=UTC), '"2026-01-01T00:00:00Z"'),
        (Row, {"when": datetime(2026, 1, 1, tzinfo=UTC)}, '{"when":"2026-01-01T00:00:00Z"}'),
        (bytes, b"plain", '"plain"'),
        (Base64Bytes, b"\xff\x00", '"/wA="'),
        (set[int], {1}, "[1]"),
        (dict[int, str], {1: "one"}, '{"1":"one"}'),
        (float, 3.0, "3.0"),
        (int | None, None, "null"),
        (Annotated[int, Field(ge=0)], 4, "4"),
    ],
    ids=str,
)
def test_annotated_values_read_back_in_their_type(annotation: Any, value: Any, recorded: str) -> None:
    """With a return annotation a value is written as pydantic writes it, and read back as that type."""
    codec = codec_for(annotation)

    assert codec.encode(value) == recorded
    assert codec.decode(recorded) == value
    assert type(codec.decode(recorded)) is type(value)


def test_three_is_three_point_zero_for_a_float() -> None:
    """An int where a float is declared is read back as a float, the first time as on replay."""
    codec = codec_for(float)

    again = codec.decode(codec.encode(3))

    assert (again, type(again)) == (3.0, float)


@pytest.mark.parametrize(
    ("annotation", "value", "path"),
    [
        (float, float("nan"), "$"),
        (bytes, b"\xff", "$"),
        (Item, Item(name="a", price=float("inf")), "$.price"),
        (list[float], [1.0, float("nan")], "$[1]"),
        (int, "many", "$"),
        (Item, {"name": "a"}, "$"),
        (Annotated[int, Field(ge=0)], -1, "$"),
    ],
    ids=["nan", "bytes that are no text", "inf in a model", "nan in a list", "a wrong type", "no model", "a bound"],
)
def test_what_an_annotation_does_not_hold_is_refused(annotation: Any, value: Any, path: str) -> None:
    """A value that its annotation cannot write, or would not read back, is refused before it is recorded."""
    with pytest.raises(InvalidValueError) as refused:
        codec_for(annotation).encode(value)

    assert refused.value.path == path


def test_recorded_text_that_no_longer_fits_is_refused_with_its_path() -> None:
    """A value recorded under an earlier annotation says where it does not fit the new one."""
    with pytest.raises(InvalidValueError) as refused:
        codec_for(list[Item]).decode('[{"name":"a"},{"price":1}]')

    assert refused.value.path == "$[1].name"


# -- what people declare -------------------------------------------------------------------------------------------


class Customer(BaseModel):
    first: str = Field(alias="firstName")
    age: int = Field(1, validation_alias=AliasChoices("years", "ageInYears"))
    nick: str = Field("", serialization_alias="nickName")


class Area(BaseModel):
    model_config = ConfigDict(extra="forbid")
    side: int

    @computed_field  # type: ignore[prop-decorator]
    @property
    def square(self) -> int:
        """What is computed is not read back, and not written."""
        return self.side**2


class Parsed(BaseModel):
    rows: Json[list[int]]


class Plain:
    """A class that pydantic does not know."""


@dataclass(eq=False)
class Unequal:
    """Without `==` two values of it are never equal."""

    number: int


@pytest.mark.parametrize(
    "value",
    [
        Customer.model_validate({"firstName": "Ann", "ageInYears": 40, "nick": "a"}),
        Area(side=3),
        Parsed.model_validate({"rows": "[1,2]"}),
        Unequal(3),
        datetime(2026, 10, 25, 2, 30, fold=1, tzinfo=ZoneInfo("Europe/Zurich")),
    ],
    ids=lambda value: type(value).__name__,
)
def test_ordinary_models_survive(value: Any) -> None:
    """Aliases, computed fields, JSON in JSON, classes without `==` and the hour in which clocks go back."""
    codec = codec_for(type(value))

    again = codec.decode(codec.encode(value))

    assert mismatch(value, again) is None
    assert type(again) is type(value)


@pytest.mark.parametrize(
    ("annotation", "value"),
    [
        (deque[int], deque([1, 2])),
        (defaultdict[str, list[int]], defaultdict(list, a=[1])),
        (Counter[str], Counter("aab")),
        (OrderedDict[str, int], OrderedDict(b=1, a=2)),
    ],
)
def test_collections_come_back_as_they_were(annotation: Any, value: Any) -> None:
    """What `==` does not tell, too."""
    again = codec_for(annotation).exchange(value)[1]

    assert repr(again) == repr(value)


@pytest.mark.parametrize("text", ['{"first":"Ann","age":40}', '{"firstName":"Ann","years":40}'], ids=["name", "alias"])
def test_names_and_aliases_are_read(text: str) -> None:
    """What this release has written has names; what people send has aliases."""
    assert codec_for(Customer).decode(text) == Customer.model_validate({"firstName": "Ann", "years": 40})


class Card(BaseModel):
    number: str


class GoldCard(Card):
    level: int = 1


class Doubled(BaseModel):
    amount: Annotated[int, BeforeValidator(lambda value: value * 2)]


class Remembering(BaseModel):
    name: str
    _calls: int = PrivateAttr(0)


class Colour(enum.Enum):
    RED = "red"


def remembering() -> Remembering:
    """A model with something in private."""
    model = Remembering(name="a")
    model._calls = 3
    return model


class Window(BaseModel):
    last: deque[int]


class Shy(BaseModel):
    shown: int
    hidden: int = Field(0, exclude=True)


class Entity(BaseModel):
    """The same as any other with its number, whatever else they hold."""

    number: int
    owner: str = Field(default="", exclude=True)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Entity) and self.number == other.number

    __hash__ = None  # type: ignore[assignment]


class Account(Entity):
    balance: int = 0


@dataclass
class Counted:
    name: str
    calls: int = field(default=0, init=False, compare=False)


def counted(calls: int) -> Counted:
    made = Counted("a")
    made.calls = calls
    return made


@pytest.mark.parametrize(
    ("annotation", "value", "path", "problem"),
    [
        (Entity, Account(number=1, balance=5), "$", "Account(number=1"),
        (dict[str, list[Entity]], {"a": [Account(number=1)]}, "$.a[0]", "Account(number=1"),
        (
            list[Entity | int],
            [5, Entity(number=1, owner="Ann")],
            "$[1].owner",
            "it is 'Ann', and would be read back as",
        ),
        (Counted, counted(3), "$.calls", "it is 3, and would be read back as 0"),
        (float, 2**53 + 1, "$", "it is 9007199254740993, and would be read back as 9007199254740992.0"),
        (dict[str, list[float]], {"ns": [0, 10**18 + 1]}, "$.ns[1]", "would be read back as 1e+18"),
        (Card, GoldCard(number="1", level=3), "$", "GoldCard(number='1', level=3), and would be read back as Card("),
        (list[Card], [Card(number="1"), GoldCard(number="2")], "$[1]", "GoldCard"),
        (Doubled, Doubled(amount=2), "$.amount", "it is 4, and would be read back as 8"),
        (dict[str, Doubled], {"a": Doubled(amount=1)}, "$.a.amount", "it is 2, and would be read back as 4"),
        (Shy, Shy(shown=1, hidden=2), "$.hidden", "it is 2, and would be read back as 0"),
        (Remembering, remembering(), "$._calls", "it is 3, and would be read back as 0"),
        (str | Colour, Colour.RED, "$", "it is <Colour.RED: 'red'>, and would be read back as 'red'"),
        (deque[int], deque([1], maxlen=2), "$", "it is deque([1], maxlen=2), and would be read back as deque([1])"),
        (dict[str, list[deque[int]]], {"a": [deque([1]), deque(maxlen=5)]}, "$.a[1]", "deque([], maxlen=5)"),
        (Window, Window(last=deque([1], maxlen=2)), "$.last", "maxlen=2"),
        (defaultdict[str, int], defaultdict(None, a=1), "$", "defaultdict(None, {'a': 1}), and would be read back as"),
        (list[int], [1, 10**MAX_DIGITS], "$[1]", "more than 4300 digits"),
        (bytes, bytes([255]), "$", "invalid utf-8"),
    ],
    ids=lambda value: value if isinstance(value, str) else None,
)
def test_what_would_be_read_back_otherwise_is_refused(annotation: Any, value: Any, path: str, problem: str) -> None:
    """With the place, what was given and what would be read."""
    with pytest.raises(InvalidValueError) as refused:
        codec_for(annotation).encode(value)

    assert refused.value.path == path
    assert problem in refused.value.problem


class Login(BaseModel):
    user: str
    password: SecretStr


@dataclass
class Token:
    value: SecretBytes


@pytest.mark.parametrize(
    ("annotation", "what"),
    [
        (SecretStr, "a secret, which is written as asterisks, at $ "),
        (Login, "at $.password "),
        (list[Login | None], "at $.password "),
        (Token, "at $.value "),
        (Secret[int], "a secret, which"),
        (Callable[[], int], "a callable at $ "),
        (Generator[int, None, None], "cannot be used"),
        (Plain, "Unable to generate pydantic-core schema"),
    ],
    ids=str,
)
def test_a_type_that_no_text_can_hold_is_refused_where_it_is_declared(annotation: Any, what: str) -> None:
    """Before anything runs, with the place inside of the type."""
    with pytest.raises(DeclarationError, match="the return type of 'pay'") as refused:
        codec_for(annotation, "the return type of 'pay'")

    assert what in str(refused.value)


def test_metadata_need_not_be_hashable() -> None:
    """What stands in `Annotated` may be a dict."""
    codec = codec_for(Annotated[int, {"unit": "s"}])

    assert codec.decode(codec.encode(3)) == 3
    assert isinstance(codec, Codec)


def test_a_value_that_cannot_be_shown_is_refused_all_the_same() -> None:
    """A `repr` or an `==` that raises does not replace the refusal."""

    class Awkward(BaseModel):
        amount: Annotated[int, BeforeValidator(lambda value: value + 1)]

        def __eq__(self, other: object) -> bool:
            raise RuntimeError

        def __repr__(self) -> str:
            raise RuntimeError

    with pytest.raises(InvalidValueError, match="it is 2, and would be read back as 3"):
        codec_for(Awkward).encode(Awkward(amount=1))


def test_what_a_caller_gives_becomes_plain_json() -> None:
    """Models, dates and enums among inputs are written as their types write them, by name."""
    given = {
        "customer": Customer.model_validate({"firstName": "Ann"}),
        "at": datetime(2026, 1, 1, tzinfo=UTC),
        "colour": Colour.RED,
    }

    assert to_plain(given) == {
        "customer": {"first": "Ann", "age": 1, "nick": ""},
        "at": "2026-01-01T00:00:00Z",
        "colour": "red",
    }
    with pytest.raises(InvalidValueError):
        to_plain({"x": object()})


# -- generated types -----------------------------------------------------------------------------------------------


def equal(given: Any, read: Any) -> bool:
    """This test's own idea of equal: of one class everywhere, part by part."""
    if isinstance(given, BaseModel):
        return type(given) is type(read) and equal(_fields(given), _fields(read))
    if dataclasses.is_dataclass(given) and not isinstance(given, type):
        return type(given) is type(read) and equal(vars(given), vars(read))
    if isinstance(given, dict):
        return isinstance(read, dict) and given.keys() == read.keys() and all(equal(given[k], read[k]) for k in given)
    if isinstance(given, (list, tuple)):
        return type(given) is type(read) and len(given) == len(read) and all(map(equal, given, read))
    if isinstance(given, (bool, enum.Enum)) or isinstance(read, (bool, enum.Enum)):
        return type(given) is type(read) and bool(given == read)
    return bool(given == read)


def _fields(model: BaseModel) -> dict[str, Any]:
    return {name: getattr(model, name) for name in type(model).model_fields} | (model.model_extra or {})


def read_back(annotation: Any, value: Any) -> Any:
    """The value as it is read back, or the error that refuses it."""
    try:
        codec = codec_for(annotation)
        return codec.decode(codec.encode(value))
    except (DeclarationError, InvalidValueError) as error:
        return error


@pytest.mark.parametrize("first", range(0, 5000, 500))
def test_generated_values_come_back_equal_or_are_refused(first: int) -> None:
    """Five thousand types with a value each; ordinary ones are never refused."""
    refused = 0
    for seed in range(first, first + 500):
        annotation, value, ordinary = Draw(seed).model()
        again = read_back(annotation, value)

        if isinstance(again, FlujoError):
            assert not ordinary, f"seed {seed}: {value!r} of {annotation!r} is refused: {again}"
            refused += 1
        else:
            assert equal(value, again), f"seed {seed}: {value!r} was read back as {again!r}"
    assert 0 < refused < 400


@pytest.mark.parametrize("annotation", [dict, list, str, bool])
@pytest.mark.parametrize("value", [{}, [], "text", True, 1, 1.5, None])
def test_the_bare_classes_of_json_are_checked_like_any_type(annotation: type, value: Any) -> None:
    """On the way in as on the way out, so that the first life of a run is as the next."""
    codec, written = codec_for(annotation), encode(value)

    if isinstance(value, annotation):
        assert codec.exchange(value) == (written, value)
        assert codec.decode(written) == value
    else:
        for attempt in (lambda: codec.exchange(value), lambda: codec.decode(written)):
            with pytest.raises(InvalidValueError, match="Input should be a valid"):
                attempt()
    assert codec.fits is not None


def test_what_a_class_takes_for_equal_is_recorded_where_nothing_is_lost() -> None:
    """Only what would be lost is refused, not the class."""
    for annotation, value in ((Entity, Entity(number=1)), (Account, Account(number=1, balance=5)), (float, 2**53)):
        assert codec_for(annotation).exchange(value)[1] == value
    assert codec_for(Counted).exchange(counted(0))[1].calls == 0


def test_a_list_does_not_stand_for_a_tuple_where_both_are_meant() -> None:
    """The program would take the other branch on its way back; elsewhere tuples are lists, as in JSON."""
    codec = codec_for(dict[str, list[int] | tuple[int, ...]])

    assert codec.exchange({"a": [1, 2]})[1] == {"a": [1, 2]}
    with pytest.raises(InvalidValueError, match=r"at \$.a cannot be recorded: it is \(1, 2\), .* as \[1, 2\]"):
        codec.exchange({"a": (1, 2)})
    assert codec_for(dict[str, Any]).exchange({"a": (1, 2)})[1] == {"a": [1, 2]}


def test_bytes_that_are_no_text_name_the_type_that_takes_them() -> None:
    """The message of pydantic speaks of a codec only."""
    with pytest.raises(InvalidValueError, match="Base64Bytes"):
        codec_for(bytes).encode(b"\xff")


PARIS = ZoneInfo("Europe/Paris")


@pytest.mark.parametrize(
    ("annotation", "value", "path"),
    [
        (time, time(2, 30, fold=1), "$"),
        (time, time(2, 30, tzinfo=PARIS), "$"),
        (datetime, datetime(2026, 10, 25, 2, 30, fold=1), "$"),
        (list[datetime], [datetime(2026, 1, 1), datetime(2026, 10, 25, 2, 30, fold=1)], "$[1]"),
        (dict[str, time | None], {"a": time(1, tzinfo=PARIS)}, "$.a"),
    ],
)
def test_a_time_that_would_be_of_another_hour_is_refused(annotation: Any, value: Any, path: str) -> None:
    """They are equal to what would be read, and yet another hour: of the two when clocks go back, or in a zone."""
    with pytest.raises(InvalidValueError, match="would be read back as") as refused:
        codec_for(annotation).encode(value)

    assert refused.value.path == path


@pytest.mark.parametrize(
    "value",
    [
        datetime(2026, 10, 25, 2, 30, tzinfo=PARIS),
        datetime(2026, 10, 25, 2, 30, tzinfo=PARIS, fold=1),
        datetime(2026, 3, 29, 2, 30, tzinfo=PARIS),
        datetime(2026, 1, 1, tzinfo=UTC, fold=1),
    ],
)
def test_an_instant_with_a_zone_is_told_by_its_distance_from_utc(value: datetime) -> None:
    """So that both hours come back, and the one that there never was."""
    assert codec_for(datetime).exchange(value)[1].astimezone(UTC) == value.astimezone(UTC)


@pytest.mark.parametrize(
    ("annotation", "value"),
    [
        (frozenset[int] | set[int], {1}),
        (list[set[int] | frozenset[int]], [frozenset({1})]),
        (Decimal | str, "1.5"),
        (UUID | str, str(UUID(int=1))),
        (date | str, "2026-01-01"),
        (Path | str, "a"),
    ],
)
def test_one_alternative_does_not_stand_for_another(annotation: Any, value: Any) -> None:
    """Equal or not: the program would go another way with it."""
    with pytest.raises(InvalidValueError, match="would be read back as"):
        codec_for(annotation).encode(value)


class Rights(enum.IntFlag):
    READ = 1
    WRITE = 2


class Place(NamedTuple):
    name: str
    floor: int = 0


class Order(TypedDict):
    id: int
    note: NotRequired[str]
    day: date


class Numbers(RootModel[list[int]]):
    """A model of a list."""


V = TypeVar("V")


class Box(BaseModel, Generic[V]):
    """A model of anything."""

    value: V


class Cat(BaseModel):
    kind: Literal["cat"]
    lives: int = 9


class Dog(BaseModel):
    kind: Literal["dog"]
    tricks: frozenset[tuple[int, str]] = frozenset()


@dataclass(kw_only=True, slots=True, frozen=True)
class Fixed:
    tags: frozenset[tuple[int, str]]


@dataclass
class Summed:
    """One field is computed from what is only given."""

    price: int
    count: dataclasses.InitVar[int] = 3
    total: int = field(init=False, default=0)

    def __post_init__(self, count: int) -> None:
        self.total = self.price * count


@pytest.mark.parametrize(
    ("annotation", "value"),
    [
        (NewType("Id", int), 5),
        (Order, {"id": 1, "day": date(2026, 1, 1)}),
        (Rights, Rights.READ | Rights.WRITE),
        (Rights, Rights(0)),
        (Place, Place("a")),
        (list[Place], [Place("a", 1)]),
        (frozenset[tuple[int, str]], frozenset({(1, "a")})),
        (dict[date, dict[UUID, int]], {date(2026, 1, 1): {UUID(int=1): 1}}),
        (PurePath, PurePosixPath("a/b")),
        (timedelta, timedelta(days=-1, microseconds=7)),
        (timedelta, timedelta.min),
        (Decimal, Decimal("-0")),
        (Decimal | int, Decimal(5)),
        (int | Decimal, 5),
        (Numbers, Numbers([1])),
        (Box[date], Box[date](value=date(2026, 1, 1))),
        (Annotated[Cat | Dog, Field(discriminator="kind")], Dog(kind="dog", tricks=frozenset({(1, "sit")}))),
        (Fixed, Fixed(tags=frozenset({(1, "a")}))),
        (Summed, Summed(2)),
        (time, time(2, 30, tzinfo=timezone(timedelta(hours=1)))),
        (float, -0.0),
    ],
)
def test_values_of_rarer_types_come_back_as_they_were(annotation: Any, value: Any) -> None:
    """Down to their class, their sign and their digits."""
    read = codec_for(annotation).exchange(value)[1]

    assert (read, type(read)) == (value, type(value))
    assert str(read) == str(value) or isinstance(value, time)


@pytest.mark.parametrize(
    ("annotation", "value", "path"),
    [
        (Decimal, Decimal("NaN"), "$"),
        (Summed, Summed(2, 5), "$.total"),
        (Box, Box(value=date(2026, 1, 1)), "$.value"),
        (Path, PurePosixPath("a"), "$"),
        (dict[tuple[int, int], str], {(1, 2): "a"}, "$"),
    ],
)
def test_or_they_are_refused_with_their_place(annotation: Any, value: Any, path: str) -> None:
    """Before anything is stored."""
    with pytest.raises(InvalidValueError) as refused:
        codec_for(annotation).encode(value)

    assert refused.value.path.startswith(path)
