"""Text for people: errors in one line, values as the user would write them, no secrets, near names."""

import difflib
import html
import re
from collections.abc import Iterable, Sequence

COLOUR = re.compile(r"\x1b\[[0-9;]*m")

CARETS = re.compile(r"^[ ~^]+\n", re.MULTILINE)
"""Python's marks under a line of code, which Ray puts where that line is missing too."""


def plain_message(error: BaseException) -> str:
    """What an error says, uncoloured."""
    return CARETS.sub("", COLOUR.sub("", str(error)))


def full_message(error: BaseException) -> str:
    """All that an error says, up to 1,000 characters of it, in one line."""
    return " ".join(plain_message(error).split())[:1000]


def brief_message(error: BaseException) -> str:
    """What went wrong: the last line of an error that carries a traceback, the first of any other."""
    lines = [" ".join(line.split()) for line in plain_message(error).splitlines() if line.strip()]
    if not lines:
        return type(error).__name__
    traced = any(re.match(r'File ".*", line \d+', line) for line in lines)
    return (lines[-1] if traced else lines[0])[:300]


def make_printable(text: str, limit: int = 60) -> str:
    """Text on one line, shortened and without secrets: what a screen cannot show is escaped."""
    text = hide_secrets(text)
    shown = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text[: limit + 1])
    return shown if len(shown) <= limit else shown[: limit - 3] + "..."


def format_value(value: object) -> str:
    """A value as the user would write it, shortened."""
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
    """'; did you mean X?' where X is close enough, else nothing."""
    found = close_matches(str(word), names)
    return f"; did you mean {prefix}{found[0]}?" if found else ""


def close_matches(word: str, names: Iterable[str]) -> list[str]:
    """The name that is closest to `word`, if it is close enough."""
    return difflib.get_close_matches(word[:200], list(names), n=1, cutoff=0.6)


def join_names(names: Sequence[str]) -> str:
    """'a, b or c'."""
    *others, final = names
    return f"{', '.join(others)} or {final}" if others else final


USER = re.compile(r"://[^/?#@]*:(?!\d{1,5}(?:/|\s|$)).*@")
"""NAME:SECRET@ after the scheme, even where a secret's own slashes were not escaped; no HOST:PORT."""

SECRET = re.compile(r"([?&][^=&\s]*(?:secret|token|password|signature|key)[^=&\s]*=)[^&\s'\"]*", re.IGNORECASE)


def hide_secrets(text: str) -> str:
    """`text`, such as a URI, without the secrets in it."""
    return SECRET.sub(r"\1...", USER.sub("://", text))


def format_html_table(lines: Sequence[Sequence[str]], words: str) -> str:
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
