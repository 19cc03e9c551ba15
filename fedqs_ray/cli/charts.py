"""Line charts in the terminal from Braille characters, each of two by four dots."""

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import ArrayLike
from rich.text import Text

DOTS = np.array([[0x01, 0x08], [0x02, 0x10], [0x04, 0x20], [0x40, 0x80]])
"""Bit of each dot of a Braille character, added to U+2800."""
MARGIN = 7
"""Width of the axis labels at the left, in characters."""


def draw_braille(x: Sequence[float], y: Sequence[float], low: float, high: float, width: int, height: int) -> list[str]:
    """Draw y over x between `low` and `high`, as `height` lines of `width` characters."""
    dots = np.zeros((4 * height, 2 * width), np.int64)
    across = np.interp(np.linspace(x[0], x[-1], 2 * width), x, y)
    rows = np.rint((high - across) / (high - low) * (4 * height - 1)).astype(int)
    for column, (here, there) in enumerate(pairwise([*rows, rows[-1]])):
        dots[min(here, there) : max(here, there) + 1, column] = 1
    codes = (dots.reshape(height, 4, width, 2) * DOTS[:, None]).sum((1, 3)) + 0x2800
    return ["".join(map(chr, line)).replace("\u2800", " ") for line in codes]


def draw_chart(
    title: str, unit: str, x: ArrayLike, y: ArrayLike, ends: str, colour: str, width: int, height: int
) -> list[Text]:
    """Draw a chart of `width` times `height` characters: a title with the last value, the curve, and `ends` under it.

    Points that are not finite are omitted.
    """
    over, values = np.asarray(x, float), np.asarray(y, float)
    over, values = over[np.isfinite(values)], values[np.isfinite(values)]
    head = Text.assemble((title, "bold"), "  ", (f"{format_number(values[-1])}{unit}" if values.size else "-", colour))
    lines = [head, *[Text() for _ in range(height - 2)], Text(ends.rjust(width)[-width:], "dim")]
    if values.size > 1:
        low, high = float(values.min()), float(values.max())
        low, high = (low, high) if high > low else (low - 0.5, high + 0.5)
        drawn = draw_braille(over.tolist(), values.tolist(), low, high, width - MARGIN, height - 2)
        labels = {0: format_number(high), height - 3: format_number(low)}
        for row, curve in enumerate(drawn):
            lines[row + 1] = Text.assemble((labels.get(row, "").rjust(MARGIN - 1) + "│", "dim"), (curve, colour))
    for line in lines:
        line.truncate(width, pad=True)
    return lines


def format_number(value: float) -> str:
    """Format a number in at most six characters."""
    if value == 0 or 0.01 <= abs(value) < 1000:
        return f"{value:.3g}"
    return f"{value:,.0f}" if 1000 <= abs(value) < 100_000 else f"{value:.0e}".replace("e+0", "e").replace("e-0", "e-")
