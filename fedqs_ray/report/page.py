"""HTML pages: one self-contained file without network access, with one script at most, all text escaped."""

import base64
import hashlib
import html
import json
from importlib.resources import files
from pathlib import Path
from typing import Any

from fedqs_ray.report.svg import style

OURS = files("fedqs_ray.report")

LONG = 14
"""Characters that a headline figure of ordinary size holds."""


def cards(facts: dict[str, str]) -> str:
    """Headline figures: label and text."""
    each = (
        f"<div{' class=long' * (len(text) > LONG)}><dt>{html.escape(label)}</dt><dd>{html.escape(text)}</dd></div>"
        for label, text in facts.items()
    )
    return f'<dl class="cards">{"".join(each)}</dl>'


def write_page(
    path: Path, title: str, subtitle: str, body: str, config: str, data: dict[str, Any] | None = None
) -> Path:
    """Write one page; `body` is HTML, the rest is text. `data` is for the script, without which there is none.

    A Content Security Policy lets no other script run and fetches nothing. Returns `path`.
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
