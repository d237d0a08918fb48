"""Draw a graph as an SVG picture, which any browser shows: a box for each step, and an arrow to what waits for it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from unicodedata import east_asian_width

from .graphs import Node, colour_of
from .layers import Layout, lay_out
from .text import printable

ROW = 86
"""Pixels from one layer to the next."""

BOX = 44
MARGIN = 20
PADDING = 14
LETTER = 7.6
"""Pixels of the widest usual letters on average; a box is a little wide for its text rather than too narrow."""

MOST_LETTERS = 40
"""A longer name is cut in its box; the picture tells it as a whole to who points at it."""


def as_svg(nodes: Sequence[Node], name: str) -> str:
    """Return the picture as one XML text. A clean-up that waits for no step stands below all, as it comes last."""
    last = 1 + max((node.depth for node in nodes if node.waits_for or not node.is_clean_up), default=-1)
    nodes = [node._replace(depth=last) if node.is_clean_up and not node.waits_for else node for node in nodes]
    widths = {node.name: _width(node) for node in nodes}
    waits_for = {node.name: node.waits_for for node in nodes}
    layout = lay_out(waits_for, {node.name: node.depth for node in nodes}, widths)
    width, height = round(layout.width) + 2 * MARGIN, max(1, layout.height) * ROW - ROW + BOX + 2 * MARGIN
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" role="img" width="{width}" height="{height}" '
        f'viewBox="0 0 {width} {height}" font-family="system-ui, sans-serif" font-size="13">',
        f"<title>{_escaped(name)}</title>",
        '<defs><marker id="end" viewBox="0 0 8 8" refX="8" refY="4" markerWidth="8" markerHeight="8" orient="auto">'
        '<path d="M0 0L8 4L0 8z" fill="#555"/></marker></defs>',
        f'<rect width="{width}" height="{height}" fill="#fff"/>',
        *_arrows(layout),
    ]
    for node in nodes:
        lines += _box(node, layout.middles[node.name] + MARGIN, MARGIN + ROW * node.depth, widths[node.name])
    return "\n".join([*lines, "</svg>"])


def _arrows(layout: Layout) -> Iterator[str]:
    for way in layout.arrows:
        (x, layer), *rest = way
        path = f"M{x + MARGIN:.1f} {MARGIN + ROW * layer + BOX}"
        above = x
        for number, (x, layer) in enumerate(rest):
            top = MARGIN + ROW * layer
            start = top - ROW + BOX
            middle = (start + top) / 2
            path += f"C{above + MARGIN:.1f} {middle:.1f} {x + MARGIN:.1f} {middle:.1f} {x + MARGIN:.1f} {top}"
            if number < len(rest) - 1:
                path += f"V{top + BOX}"
            above = x
        yield f'<path d="{path}" fill="none" stroke="#555" marker-end="url(#end)"/>'


def _box(node: Node, middle: float, top: int, width: float) -> Iterator[str]:
    left, round_by = middle - width / 2, BOX // 2 if node.is_clean_up else 5
    told = f"{_escaped(node.name)}{': ' + node.status if node.status else ''}"
    yield f"<g><title>{told}</title>"
    yield (
        f'<rect x="{left:.1f}" y="{top}" width="{width:.1f}" height="{BOX}" rx="{round_by}" '
        f'fill="{colour_of(node.status)}" stroke="#333"/>'
    )
    below = 19 if node.status else 27
    yield f'<text x="{middle:.1f}" y="{top + below}" text-anchor="middle">{_escaped(_cut(node.name))}</text>'
    if node.status:
        yield (
            f'<text x="{middle:.1f}" y="{top + 35}" text-anchor="middle" font-size="11" fill="#444">'
            f"{_escaped(node.status)}</text>"
        )
    yield "</g>"


def _width(node: Node) -> float:
    letters = max(map(_letters, (_cut(node.name), node.status or "")))
    return 2 * PADDING + letters * LETTER


def _letters(text: str) -> int:
    return sum(2 if east_asian_width(each) in "WF" else 1 for each in text)


def _cut(name: str) -> str:
    shown = printable(name)
    return shown if len(shown) <= MOST_LETTERS else f"{shown[: MOST_LETTERS - 1]}…"


def _escaped(text: str) -> str:
    """Return a text that XML shows as it is, whatever a file has for a name."""
    sound = printable(text).encode("utf-8", "replace").decode()
    return sound.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;").replace('"', "&quot;")
