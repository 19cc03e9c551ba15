"""SVG panels: one style, colours that follow the page (light or dark), and a text alternative for screen readers."""

import html
import io
import re
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.colors import LinearSegmentedColormap, to_rgb
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullLocator
from matplotlib.typing import RcKeyType

Fill = Callable[[Axes], str | None]
"""Draws into empty axes and says in words what is to be seen; None if there is nothing."""

COLOURS = {
    "ink": ("#22272e", "#e6e9ed"),
    "grey": ("#7b8794", "#8b96a3"),
    "accuracy": ("#2a6fdb", "#6ea8ff"),
    "loss": ("#c4501d", "#ff9a6c"),
    "training": ("#a3c4ee", "#34557f"),
    "waiting": ("#d99e16", "#f0c04e"),
    "lost": ("#c02f4c", "#ff7289"),
    "rejected": ("#8436ad", "#d391f2"),
    "FWBC": ("#2f7de1", "#62a3f8"),
    "FSBC": ("#7d3fc8", "#b88df2"),
    "SWBC": ("#1e9164", "#46c792"),
    "SSBC": ("#d8612a", "#f48e5d"),
    "line0": ("#5d6874", "#a7b1bc"),
    "line1": ("#2b7ce0", "#64a4f9"),
    "line2": ("#c98a10", "#efb94a"),
    "line3": ("#d65d26", "#f58a58"),
    "line4": ("#1f9065", "#48c893"),
    "line5": ("#7c3ec7", "#b78cf1"),
    "line6": ("#bb3565", "#f27da6"),
    "line7": ("#2f8791", "#62c0ca"),
    "line8": ("#7a5544", "#c69c87"),
    "line9": ("#3a52a8", "#8fa5f0"),
}
"""Light and dark; the same thing has the same colour in every picture. The light ones are all different."""
INK, GREY = COLOURS["ink"][0], COLOURS["grey"][0]
LOOK: dict[RcKeyType, Any] = {
    "svg.fonttype": "none",
    "text.parse_math": False,
    "font.size": 10,
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": GREY,
    "axes.facecolor": "none",
    "figure.facecolor": "none",
    "xtick.color": GREY,
    "ytick.color": GREY,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": GREY,
    "grid.alpha": 0.25,
    "lines.linewidth": 1.5,
    "legend.frameon": False,
    "legend.handlelength": 1.2,
    "legend.columnspacing": 1.2,
    "legend.fontsize": 9,
}
WIDTH, HEIGHT = 4.4, 2.8
"""Inches. Beside each other on a desk, one below the other on a phone, where ten points are still to be read."""


def colour(name: str) -> str:
    """For matplotlib; the page's own is in the style sheet."""
    return COLOURS[name][0]


def shades(name: str) -> LinearSegmentedColormap:
    """From nothing to a colour: for pictures made of pixels, which lie on light and dark paper alike."""
    end = to_rgb(colour(name))
    return LinearSegmentedColormap.from_list(name, [(*end, 0.0), (*end, 1.0)])


def tidy(axes: Axes, xlabel: str, ylabel: str) -> None:
    """Name the axes."""
    axes.set_xlabel(xlabel)
    axes.set_ylabel(ylabel)


def steps(low: float, high: float) -> tuple[int, ...]:
    """Which numbers of each decade stand on a logarithmic axis: few enough to stand side by side."""
    decades = np.log10(high / low) if low > 0 else np.inf
    return (1, 2, 5) if decades < 1.6 else (1, 3) if decades < 3 else (1,)


def logarithmic(axis: Axis) -> None:
    """Plain numbers on a logarithmic axis that has its data."""
    axis.set_major_locator(LogLocator(subs=steps(*axis.get_view_interval())))
    axis.set_major_formatter("{x:g}")
    axis.set_minor_locator(NullLocator())


def legend(axes: Axes, ncols: int = 2) -> None:
    """Below the axes, where it covers nothing; the panel grows with it."""
    found = axes.get_legend_handles_labels()
    if rows := -(-len(found[0]) // ncols):
        grow(axes, 0.22 * rows).legend(*found, loc="outside lower center", ncols=ncols)


def grow(axes: Axes, inches: float) -> Figure:
    """Make a panel higher than it is by itself."""
    figure = axes.figure
    assert isinstance(figure, Figure)
    figure.set_figheight(HEIGHT + inches)
    return figure


def panel(name: str, pictures: Path, fill: Fill) -> str:
    """Draw one panel: NAME.svg in the folder `pictures`, and the HTML figure that is returned; "" if it is empty."""
    with mpl.rc_context({**LOOK, "svg.hashsalt": name}), warnings.catch_warnings():
        figure = Figure(figsize=(WIDTH, HEIGHT), layout="constrained")
        words = fill(figure.add_subplot())
        if words is None:
            return ""
        text = io.StringIO()
        warnings.filterwarnings("ignore", "Glyph .* missing from font", UserWarning)  # the reader's own fonts have it
        figure.savefig(text, format="svg", metadata=dict.fromkeys(("Creator", "Date", "Format", "Type")))
    pictures.mkdir(exist_ok=True)
    (pictures / f"{name}.svg").write_text(text.getvalue(), encoding="utf-8")
    return f"<figure>{inline(text.getvalue(), words)}</figure>"


def inline(svg: str, words: str) -> str:
    """An SVG file as an element of the page: its colours, fonts and size are the page's, and it can be read aloud."""
    head, _, body = svg[svg.index("<svg") :].partition(">")
    box = re.search(r'viewBox="([^"]+)"', head)
    assert box
    body = re.sub(r"<!--.*?-->\s*|\n\s*", " ", body, flags=re.DOTALL)
    body = re.sub(r' id="[\w.]+_\d+"', "", body)  # names of parts, which other pictures on the page have too
    body = re.sub(r"font: ([\d.]+px) [^;\"]+", r"font-size: \1", body)
    for name, (light, _) in COLOURS.items():
        body = body.replace(light, f"var(--{name})")
    return f'<svg role="img" aria-label="{html.escape(words)}" viewBox="{box[1]}">{body}'


def style() -> str:
    """The colours for the style sheet, light and dark."""
    light, dark = ("".join(f"--{name}:{pair[side]};" for name, pair in COLOURS.items()) for side in (0, 1))
    return f":root{{{light}}}@media (prefers-color-scheme:dark){{:root{{{dark}}}}}"


def section(title: str, caption: str, panels: Sequence[str], level: int = 2) -> str:
    """A heading of that level, panels beside or below each other, and what they show; "" without panels."""
    if not any(panels):
        return ""
    return f'<section>{heading(title, level)}<div class="panels">{"".join(panels)}</div>{paragraph(caption)}</section>'


def switched(title: str, caption: str, key: str, choices: Mapping[str, Sequence[str]], level: int = 2) -> str:
    """The same section, of which the reader sees one choice at a time. `key` is its own on the page."""
    buttons = "".join(
        f'<input type="radio" name="{key}" id="{key}-{number}"{" checked" * (not number)}>'
        f'<label for="{key}-{number}">{html.escape(name)}</label>'
        for number, name in enumerate(choices)
    )
    shown = "".join(f'<div class="panels">{"".join(panels)}</div>' for panels in choices.values())
    choice = f'<fieldset class="switch"><legend>over</legend>{buttons}{shown}</fieldset>'
    return f"<section>{heading(title, level)}{choice}{paragraph(caption)}</section>"


def heading(text: str, level: int = 2) -> str:
    """Escaped."""
    return f"<h{level}>{html.escape(text)}</h{level}>"


def paragraph(text: str) -> str:
    """Escaped."""
    return f"<p>{html.escape(text)}</p>" if text else ""
