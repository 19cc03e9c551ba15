"""Where a run's folder is, as text: a path, or a URI of a store that `pyarrow.fs` reaches."""

import re
from pathlib import Path
from urllib.parse import unquote, urlsplit

URI = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")
USER = re.compile(r"://[^/?#@]*:(?!\d{1,5}(?:/|\s|$)).*@")
"""NAME:SECRET@ after the scheme, even where a secret's own slashes were not escaped; no HOST:PORT."""
SECRET = re.compile(r"([?&][^=&\s]*(?:secret|token|password|signature|key)[^=&\s]*=)[^&\s'\"]*", re.IGNORECASE)


def here(place: str | Path) -> Path | None:
    """The folder on this machine that `place` names, by its path or as file:///PATH; None if it is elsewhere."""
    if isinstance(place, Path) or not URI.match(place):
        return Path(place)
    parts = urlsplit(place)
    return Path(unquote(parts.path)) if parts.scheme == "file" and not parts.netloc else None


def shown(text: str) -> str:
    """`text`, such as a URI, without the secrets in it."""
    return SECRET.sub(r"\1...", USER.sub("://", text))


def inside(place: str, name: str) -> str:
    """What to call a file of the folder `place`."""
    head, question, query = place.partition("?") if URI.match(place) else (place, "", "")
    return f"{head.rstrip('/')}/{name}{question}{query}"
