"""Ray's errors in one line, without the pages and the colours around them."""

import re

COLOUR = re.compile(r"\x1b\[[0-9;]*m")


def plain(error: BaseException) -> str:
    """What an error says, uncoloured."""
    return COLOUR.sub("", str(error))


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
