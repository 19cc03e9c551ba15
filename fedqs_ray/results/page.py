"""What all pages share: one look, pictures inside the file, everything escaped."""

import base64
import html
import io
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure

INK, GREY, ACCENT, SECOND = "#22272e", "#8a94a0", "#2a7de1", "#e0662b"


def tidy(axes: Axes, xlabel: str, ylabel: str) -> None:
    """One look for all pictures."""
    axes.set_xlabel(xlabel, color=INK)
    axes.set_ylabel(ylabel, color=INK)
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(alpha=0.25)
    axes.set_axisbelow(True)
    axes.tick_params(colors=INK)


def picture(figure: Figure, path: Path, title: str, caption: str) -> str:
    """Save a figure as PNG at `path`; returns the page's section that holds it."""
    png = io.BytesIO()
    figure.savefig(png, format="png", dpi=110, metadata={"Software": None})
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(png.getvalue())
    data = base64.b64encode(png.getvalue()).decode()
    title, caption = html.escape(title), html.escape(caption)
    return f'<section><h2>{title}</h2><img alt="{title}" src="data:image/png;base64,{data}"><p>{caption}</p></section>'


def write_page(path: Path, title: str, subtitle: str, body: str, config: str) -> Path:
    """Write one page; `body` is HTML, the rest is text. Returns `path`."""
    text = {"title": html.escape(title), "subtitle": html.escape(subtitle), "config": html.escape(config)}
    path.write_text(PAGE.format(**text, body=body), encoding="utf-8")
    return path


PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title><style>
:root {{ color-scheme: light dark; --ink: #22272e; --soft: #5d6874; --paper: #fff; --card: #f3f5f8; }}
@media (prefers-color-scheme: dark) {{ :root {{
  --ink: #e6e9ed; --soft: #9aa5b1; --paper: #15181c; --card: #20252b; }} }}
body {{ font: 16px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--paper); max-width: 62rem;
  margin: 2rem auto; padding: 0 1rem; }}
h1 {{ margin: 0; }} h2 {{ margin: 2rem 0 .5rem; font-size: 1.15rem; }} p {{ color: var(--soft); margin: .3rem 0; }}
.cards {{ display: grid;
  grid-template-columns: repeat(auto-fit, minmax(7.4rem, 1fr)); gap: .7rem; margin-top: 1.2rem; }}
.cards div {{ background: var(--card); border-radius: .6rem; padding: .7rem .9rem; }}
.cards b {{ display: block; font-size: 1.15rem; }} .cards span {{ color: var(--soft); font-size: .85rem; }}
img {{ width: 100%; height: auto; background: #fff; border-radius: .6rem; }}
table {{ border-collapse: collapse; font-size: .9rem; }} .wide {{ overflow-x: auto; }}
th, td {{ padding: .3rem .7rem; text-align: right; white-space: nowrap; border-bottom: 1px solid var(--card); }}
th:first-child, td:first-child {{ text-align: left; }}
pre {{ background: var(--card); padding: 1rem; border-radius: .6rem; overflow-x: auto; font-size: .85rem; }}
</style></head><body>
<h1>{title}</h1><p>{subtitle}</p>
{body}
<section><h2>Configuration</h2><details><summary>config.toml</summary><pre>{config}</pre></details></section>
</body></html>
"""
