"""Errors in one line, without the pages and the colours that Ray puts around them."""

import re
import sysconfig
from pathlib import Path

COLOUR = re.compile(r"\x1b\[[0-9;]*m")
CARETS = re.compile(r"^[ ~^]+\n", re.MULTILINE)
"""Python's marks under a line of code, which Ray puts where that line is missing too."""
FRAME = re.compile(r'File "(.+?)", line (\d+), in (\S+)')
OTHERS = (str(Path(__file__).parent), sysconfig.get_path("stdlib"), "<")
"""Where what a user did not write begins: this package, Python's library, what has no file."""


def plain(error: BaseException) -> str:
    """What an error says, uncoloured."""
    return CARETS.sub("", COLOUR.sub("", str(error)))


def spot(error: BaseException) -> str:
    """' (mine.py:12, in plan)': the last line of the user's own code in a traceback; "" if there is none."""
    frames = FRAME.findall(plain(error))
    own = [frame for frame in frames if not frame[0].startswith(OTHERS) and "site-packages" not in frame[0]]
    return " ({}:{}, in {})".format(Path(own[-1][0]).name, *own[-1][1:]) if own else ""


def whole(error: BaseException) -> str:
    """All that an error says, up to 1,000 characters of it, in one line."""
    return " ".join(plain(error).split())[:1000]


def brief(error: BaseException) -> str:
    """What went wrong: the last line of an error that carries a traceback, the first of any other."""
    lines = [" ".join(line.split()) for line in plain(error).splitlines() if line.strip()]
    if not lines:
        return type(error).__name__
    traced = any(re.match(r'File ".*", line \d+', line) for line in lines)
    return (lines[-1] if traced else lines[0])[:300]
