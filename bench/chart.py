"""Draws figures as bars, in SVG."""

from __future__ import annotations

from collections.abc import Sequence
from math import log10
from xml.sax.saxutils import escape

LABELS, WIDTH, BAR, GAP, TOP = 330, 900, 9, 6, 44
COLOURS = ("#3b6ea8", "#b9c4d0")


def bars(title: str, groups: Sequence[tuple[str, Sequence[float]]], names: Sequence[str]) -> str:
    """Return a picture of groups of bars, one bar for each of the names, on a logarithmic scale from 1 up."""
    most = max(max(values) for _, values in groups)
    room = WIDTH - LABELS - 70
    height = TOP + len(groups) * (len(names) * BAR + GAP)
    drawn = [f'<text x="8" y="18" font-weight="bold">{escape(title)} (logarithmic)</text>']
    for index, name in enumerate(names):
        x = LABELS + index * 90
        drawn.append(f'<rect x="{x}" y="27" width="{BAR}" height="{BAR}" fill="{COLOURS[index]}"/>')
        drawn.append(f'<text x="{x + 14}" y="35">{escape(name)}</text>')
    for number, (label, values) in enumerate(groups):
        y = TOP + number * (len(names) * BAR + GAP)
        drawn.append(f'<text x="{LABELS - 8}" y="{y + BAR + 4}" text-anchor="end">{escape(label)}</text>')
        for index, value in enumerate(values):
            top = y + index * BAR
            length = room * log10(max(value, 1.0)) / log10(most)
            drawn.append(f'<rect x="{LABELS}" y="{top}" width="{length:.0f}" height="{BAR}" fill="{COLOURS[index]}"/>')
            drawn.append(f'<text x="{LABELS + length + 5:.0f}" y="{top + BAR - 1}" font-size="9">{value:,.0f}</text>')
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}" '
        'font-family="sans-serif" font-size="11">\n<rect width="100%" height="100%" fill="#ffffff"/>\n'
        + "\n".join(drawn)
        + "\n</svg>\n"
    )
