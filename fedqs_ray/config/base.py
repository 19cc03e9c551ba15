"""Base class of every table of settings, and types for values that need more than numeric bounds."""

import re
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

MANY = 1_000_000
"""Upper bound of counts of things held in memory."""

LONG = 1e9
"""Upper bound of durations, in virtual seconds."""


def is_utf8(text: str) -> bool:
    """Whether `text` can be encoded in UTF-8: it holds no half of a surrogate pair."""
    return not re.search(r"[\ud800-\udfff]", text)


def check_text(text: str) -> str:
    """Check that a file can hold the text: command-line arguments may hold bytes that are not UTF-8."""
    if not is_utf8(text):
        raise ValueError("text in UTF-8")
    return text


def check_path(path: str) -> str:
    """Check that a file system can hold the path."""
    if not path.strip() or not is_utf8(path) or re.search(r"[\x00-\x1f\x7f-\x9f]", path):
        raise ValueError("a path in UTF-8, neither empty nor with control characters")
    if len(path.encode()) > 4000 or max(len(part.encode()) for part in path.split("/")) > 255:
        raise ValueError("a path of at most 4000 bytes, 255 between slashes")
    return path


def check_address(address: str) -> str:
    """Check the address of a Ray cluster."""
    host, _, port = address.rpartition(":")
    known = re.fullmatch(r"[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\]", host) and re.fullmatch(r"[0-9]{1,5}", port)
    if address not in ("local", "auto") and not (known and 0 < int(port) < 65536):
        raise ValueError('"local", "auto" or HOST:PORT')
    return address


def check_period(text: str) -> str:
    """Check a time between checkpoints."""
    if not re.fullmatch(r"[1-9][0-9]{0,8}s|never", text):
        raise ValueError('a number of seconds such as "600s", or "never"')
    return text


Text = Annotated[str, AfterValidator(check_text)]

PathText = Annotated[str, AfterValidator(check_path)]

Address = Annotated[str, AfterValidator(check_address)]

Period = Annotated[str, AfterValidator(check_period)]

Ratio = Annotated[int, Field(ge=1, le=10**9)]
"""R of "resources 1:R": durations of 1 to R virtual seconds."""

Sigma = Annotated[float, Field(ge=0, le=10)]
"""Standard deviation of a logarithm."""


class Section(BaseModel):
    """A table of the configuration file. Unknown keys are errors; values are never silently converted."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, strict=True, use_attribute_docstrings=True, allow_inf_nan=False
    )
