"""Places for the boxes and arrows of a graph that is drawn in layers, each step below all it waits for.

An arrow that passes layers is led through a free place in each of them, so that it crosses no box. Pure arithmetic on
widths; nothing here knows how a box looks.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import NamedTuple

SWEEPS = 4
"""How often the layers are put into order by their neighbours, and moved towards them."""

GAP = 28.0
"""Free space between two boxes of a layer, in the unit of the widths."""

MOST_BENDS = 20_000
"""Beyond so many free places arrows go straight: nobody can read such a drawing anyway."""

Cell = tuple[str, int]
"""A box in its own layer, or the place of an arrow in one that it passes: a name, and the layer."""


class Layout(NamedTuple):
    """Where the middle of each box is from the left, in which layer it is, and the ways of the arrows as (middle,
    layer) of each place they pass, ends included."""

    middles: Mapping[str, float]
    layers: Mapping[str, int]
    arrows: Sequence[Sequence[tuple[float, int]]]
    width: float
    height: int  # layers


def lay_out(waits_for: Mapping[str, Sequence[str]], depths: Mapping[str, int], widths: Mapping[str, float]) -> Layout:
    """Return where everything goes. Each name waits for names of a smaller depth."""
    edges = [(other, name) for name, others in waits_for.items() for other in others]
    bends = sum(depths[name] - depths[other] - 1 for other, name in edges)
    ways = [_way(number, edge, depths, is_bent=bends <= MOST_BENDS) for number, edge in enumerate(edges)]
    layers: defaultdict[int, list[Cell]] = defaultdict(list)
    for cell in dict.fromkeys([*((name, depths[name]) for name in waits_for), *(cell for way in ways for cell in way)]):
        layers[cell[1]].append(cell)
    above, below = _neighbours(ways)
    rows = [layers[depth] for depth in sorted(layers)]
    _put_in_order(rows, above, below)
    places = _place(rows, above, below, widths)
    left = min((places[cell] - _half(cell, widths) for row in rows for cell in row), default=0.0)
    right = max((places[cell] + _half(cell, widths) for row in rows for cell in row), default=0.0)
    return Layout(
        {name: places[name, depths[name]] - left for name in waits_for},
        dict(depths),
        [[(places[cell] - left, cell[1]) for cell in way] for way in ways],
        right - left,
        len(rows),
    )


def _way(number: int, edge: tuple[str, str], depths: Mapping[str, int], *, is_bent: bool) -> list[Cell]:
    start, end = edge
    between = range(depths[start] + 1, depths[end]) if is_bent else ()
    # A space begins no step's name, so the free places have names of their own.
    return [(start, depths[start]), *((f" {number}", depth) for depth in between), (end, depths[end])]


def _neighbours(ways: Sequence[Sequence[Cell]]) -> tuple[dict[Cell, list[Cell]], dict[Cell, list[Cell]]]:
    above: defaultdict[Cell, list[Cell]] = defaultdict(list)
    below: defaultdict[Cell, list[Cell]] = defaultdict(list)
    for way in ways:
        for upper, lower in pairwise(way):
            below[upper].append(lower)
            above[lower].append(upper)
    return above, below


def _put_in_order(
    rows: Sequence[list[Cell]], above: Mapping[Cell, Sequence[Cell]], below: Mapping[Cell, Sequence[Cell]]
) -> None:
    """Sort each layer by where its neighbours are in the layer before, down and up again, which takes most crossings
    out."""
    place = {cell: float(number) for row in rows for number, cell in enumerate(row)}
    for sweep in range(SWEEPS):
        down = sweep % 2 == 0
        for row in rows if down else reversed(rows):
            near = above if down else below
            row.sort(key=lambda cell: _mean([place[each] for each in near.get(cell, ())], place[cell]))
            place.update((cell, float(number)) for number, cell in enumerate(row))


def _place(
    rows: Sequence[Sequence[Cell]],
    above: Mapping[Cell, Sequence[Cell]],
    below: Mapping[Cell, Sequence[Cell]],
    widths: Mapping[str, float],
) -> dict[Cell, float]:
    """Return the middle of each cell: as near to its neighbours as the others of its layer let it."""
    places: dict[Cell, float] = {}
    for row in rows:
        places.update(_apart(row, [0.0] * len(row), widths))
    for sweep in range(SWEEPS):
        down = sweep % 2 == 0
        for row in rows if down else reversed(rows):
            near = above if down else below
            wanted = [_mean([places[each] for each in near.get(cell, ())], places[cell]) for cell in row]
            places.update(_apart(row, wanted, widths))
    return places


def _apart(row: Sequence[Cell], wanted: Sequence[float], widths: Mapping[str, float]) -> dict[Cell, float]:
    """Return middles in the order of a layer that leave the gap between boxes, on average where they are wanted."""
    found: list[float] = []
    end = float("-inf")
    for cell, middle in zip(row, wanted, strict=True):
        half = _half(cell, widths)
        found.append(max(middle, end + GAP + half))
        end = found[-1] + half
    shift = _mean([want - got for want, got in zip(wanted, found, strict=True)], 0.0)
    return {cell: middle + shift for cell, middle in zip(row, found, strict=True)}


def _half(cell: Cell, widths: Mapping[str, float]) -> float:
    return widths.get(cell[0], 0.0) / 2


def _mean(values: Sequence[float], otherwise: float) -> float:
    return sum(values) / len(values) if values else otherwise
