"""What all pages share: one file that asks the network for nothing, with one script, everything escaped."""

import base64
import hashlib
import html
import json
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

from fedqs_ray.results.drawing import style

OURS = files("fedqs_ray.results")
LONG = 14
"""Characters that a headline figure of ordinary size holds."""


def cards(facts: dict[str, str]) -> str:
    """Headline figures: label and text."""
    each = (
        f"<div{' class=long' * (len(text) > LONG)}><dt>{html.escape(label)}</dt><dd>{html.escape(text)}</dd></div>"
        for label, text in facts.items()
    )
    return f'<dl class="cards">{"".join(each)}</dl>'


def table(lines: Sequence[Sequence[str]], words: str) -> str:
    """A table whose first line is the heading and whose first column names the rows. `words` say what it is."""
    head, *rest = ([html.escape(text) for text in line] for line in lines)
    top = "".join(f'<th scope="col">{text}</th>' for text in head)
    rows = "".join(
        f'<tr><th scope="row">{first}</th>{"".join(f"<td>{text}</td>" for text in more)}</tr>' for first, *more in rest
    )
    return (
        f'<div class="wide" role="region" tabindex="0" aria-label="{html.escape(words)}">'
        f"<table><thead><tr>{top}</tr></thead><tbody>{rows}</tbody></table></div>"
    )


def write_page(
    path: Path, title: str, subtitle: str, body: str, config: str, data: dict[str, Any] | None = None
) -> Path:
    """Write one page; `body` is HTML, the rest is text. `data` is for the script, without which there is none.

    Nothing but this script may run, and nothing may be fetched: the browser is told to see to it. Returns `path`.
    """
    css, script = style() + (OURS / "page.css").read_text("utf-8"), ""
    allowed = "'none'"
    if data is not None:
        code = (OURS / "page.js").read_text("utf-8")
        digest = base64.b64encode(hashlib.sha256(code.encode()).digest()).decode()
        allowed = f"'sha256-{digest}'"
        numbers = json.dumps(data, separators=(",", ":"), allow_nan=False).replace("<", "\\u003c")
        script = f'<script type="application/json" id="data">{numbers}</script><script>{code}</script>'
    policy = f"default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src {allowed}; base-uri 'none'"
    text = {"title": title, "subtitle": subtitle, "config": config, "policy": policy}
    escaped = {name: html.escape(value) for name, value in text.items()}
    path.write_text(PAGE.format(**escaped, css=css, body=body, script=script), encoding="utf-8")
    return path


PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="{policy}"><link rel="icon" href="data:,">
<title>{title}</title><style>{css}</style></head><body>
<header><h1>{title}</h1><p>{subtitle}</p></header>
<main>
{body}
<section><h2>Configuration</h2>
<details><summary>config.toml</summary><pre tabindex="0">{config}</pre></details></section>
</main>
{script}
</body></html>
"""
