"""A plot of growth, as SVG: size along a logarithmic axis, one panel for each quantity."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from xml.sax.saxutils import escape

WIDTH, HEIGHT, MARGIN = 420, 300, 60
COLOURS = ("#1f77b4", "#d62728", "#2ca02c")

Lines = Mapping[str, Sequence[float]]
"""A line's name, and its value at each size."""


def draw(target: Path, sizes: Sequence[int], panels: Mapping[str, Lines]) -> None:
    """Write the plot; `panels` are named after what their axis counts. All values are above nought."""
    parts = [_panel(number * WIDTH, sizes, title, lines) for number, (title, lines) in enumerate(panels.items())]
    target.write_text(
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH * len(panels)}" height="{HEIGHT}"'
        ' font-family="sans-serif" font-size="11">'
        f'<rect width="100%" height="100%" fill="white"/>{"".join(parts)}</svg>\n',
        encoding="utf-8",
    )


def _panel(left: int, sizes: Sequence[int], title: str, lines: Lines) -> str:
    values = [value for line in lines.values() for value in line]
    low, high = (10.0**end for end in (math.floor(math.log10(min(values))), math.ceil(math.log10(max(values)))))
    right, bottom = left + WIDTH - MARGIN / 2, HEIGHT - MARGIN

    def x(size: float) -> float:
        return _place(size, sizes[0], sizes[-1], left + MARGIN, right)

    def y(value: float) -> float:
        return _place(value, low, max(high, low * 10), bottom, MARGIN)

    parts = [_text(left + WIDTH / 2, 22, title, "middle"), _text(left + WIDTH / 2, HEIGHT - 14, "passages", "middle")]
    for size in sizes:
        parts.append(_stroke([(x(size), MARGIN), (x(size), bottom)], "#ddd"))
        parts.append(_text(x(size), bottom + 16, f"{size:,}", "middle"))
    value = low
    while value <= max(high, low * 10) * 1.01:
        parts.append(_stroke([(left + MARGIN, y(value)), (right, y(value))], "#ddd"))
        parts.append(_text(left + MARGIN - 6, y(value) + 4, f"{value:g}", "end"))
        value *= 10
    for number, (name, line) in enumerate(lines.items()):
        colour = COLOURS[number % len(COLOURS)]
        parts.append(_stroke([(x(size), y(value)) for size, value in zip(sizes, line, strict=True)], colour, 2))
        parts.append(_text(left + MARGIN + 8, MARGIN + 14 + 14 * number, name, "start", colour))
        for size, value in zip(sizes, line, strict=True):
            parts.append(_text(x(size), y(value) - 6, f"{value:.3g}", "middle", colour))
    return "".join(parts)


def _place(value: float, low: float, high: float, start: float, end: float) -> float:
    """Where a value stands on a logarithmic axis."""
    return start + (end - start) * math.log(value / low) / (math.log(high / low) or 1.0)


def _text(x: float, y: float, text: str, anchor: str, colour: str = "#333") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" fill="{colour}">{escape(text)}</text>'


def _stroke(points: Sequence[tuple[float, float]], colour: str, width: int = 1) -> str:
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    return f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="{width}"/>'
