"""Locations of run folders: a path, or a URI of a store that `pyarrow.fs` reaches."""

import re
from pathlib import Path
from urllib.parse import unquote, urlsplit

URI = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")


def find_local_folder(place: str | Path) -> Path | None:
    """The folder on this machine that `place` names, by its path or as file:///PATH; None if it is elsewhere."""
    if isinstance(place, Path) or not URI.match(place):
        return Path(place)
    parts = urlsplit(place)
    return Path(unquote(parts.path)) if parts.scheme == "file" and not parts.netloc else None


def name_file(place: str, name: str) -> str:
    """The location of a file in the folder `place`, as shown to users."""
    head, question, query = place.partition("?") if URI.match(place) else (place, "", "")
    return f"{head.rstrip('/')}/{name}{question}{query}"
