"""Formatting of messages: errors in one line, values as in TOML, hidden secrets, suggestions of similar names."""

import difflib
import html
import re
from collections.abc import Iterable, Sequence

COLOUR = re.compile(r"\x1b\[[0-9;]*m")

CARETS = re.compile(r"^[ ~^]+\n", re.MULTILINE)
"""Python's marks under a line of code in a traceback; Ray prints them even without the line."""


def clean_message(error: BaseException) -> str:
    """The message of an error without colours and marks."""
    return CARETS.sub("", COLOUR.sub("", str(error)))


def flatten_message(error: BaseException) -> str:
    """The message of an error in one line, up to 1,000 characters."""
    return " ".join(clean_message(error).split())[:1000]


def shorten_message(error: BaseException) -> str:
    """The essential line of an error's message: the last line after a traceback, otherwise the first."""
    lines = [" ".join(line.split()) for line in clean_message(error).splitlines() if line.strip()]
    if not lines:
        return type(error).__name__
    traced = any(re.match(r'File ".*", line \d+', line) for line in lines)
    return (lines[-1] if traced else lines[0])[:300]


def make_printable(text: str, limit: int = 60) -> str:
    """Format text on one line, shortened, without secrets, with unprintable characters escaped."""
    text = hide_secrets(text)
    shown = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text[: limit + 1])
    return shown if len(shown) <= limit else shown[: limit - 3] + "..."


def format_value(value: object) -> str:
    """Format a value as in TOML, shortened."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, dict):
        return "{...}" if value else "{}"
    if isinstance(value, (list, tuple)):
        return make_printable(f"[{', '.join(map(format_value, value[:20]))}]")
    if isinstance(value, int) and value.bit_length() > 200:
        return f"a number of {value.bit_length()} bits"
    return make_printable(f'"{value}"' if isinstance(value, str) else str(value))


def suggest_name(word: object, names: Sequence[str], prefix: str = "") -> str:
    """'; did you mean X?' for the closest name X; "" if none is close enough."""
    found = find_close_matches(str(word), names)
    return f"; did you mean {prefix}{found[0]}?" if found else ""


def find_close_matches(word: str, names: Iterable[str]) -> list[str]:
    """The name closest to `word`, in a list of one; an empty list if none is close enough."""
    return difflib.get_close_matches(word[:200], list(names), n=1, cutoff=0.6)


def join_names(names: Sequence[str]) -> str:
    """Join names to 'a, b or c'."""
    *others, final = names
    return f"{', '.join(others)} or {final}" if others else final


USER = re.compile(r"://[^/?#@]*:(?!\d{1,5}(?:/|\s|$)).*@")
"""NAME:SECRET@ after a URI's scheme, also with unescaped slashes in the secret; not HOST:PORT."""

SECRET = re.compile(r"([?&][^=&\s]*(?:secret|token|password|signature|key)[^=&\s]*=)[^&\s'\"]*", re.IGNORECASE)


def hide_secrets(text: str) -> str:
    """Remove secrets from `text`, such as a URI."""
    return SECRET.sub(r"\1...", USER.sub("://", text))


def format_html_table(lines: Sequence[Sequence[str]], words: str) -> str:
    """Format an HTML table from lines: the first is the heading, the first column names the rows. `words`: a label."""
    head, *rest = ([html.escape(text) for text in line] for line in lines)
    top = "".join(f'<th scope="col">{text}</th>' for text in head)
    rows = "".join(
        f'<tr><th scope="row">{first}</th>{"".join(f"<td>{text}</td>" for text in more)}</tr>' for first, *more in rest
    )
    return (
        f'<div class="wide" role="region" tabindex="0" aria-label="{html.escape(words)}">'
        f"<table><thead><tr>{top}</tr></thead><tbody>{rows}</tbody></table></div>"
    )
