"""Error text: the line of the user's own code in a traceback that Ray passed on."""

import re
import sysconfig
from pathlib import Path

from fedqs_ray.core.text import clean_message

FRAME = re.compile(r'File "(.+?)", line (\d+), in (\S+)')

OTHERS = (str(Path(__file__).parents[2]), sysconfig.get_path("stdlib"), "<")
"""Prefixes of paths of code that is not the user's: this package, Python's library, code without a file."""


def locate_user_code(error: BaseException) -> str:
    """Find the last line of the user's own code in a traceback, as " (mine.py:12, in plan)"; "" if there is none."""
    frames = FRAME.findall(clean_message(error))
    own = [frame for frame in frames if not frame[0].startswith(OTHERS) and "site-packages" not in frame[0]]
    return " ({}:{}, in {})".format(Path(own[-1][0]).name, *own[-1][1:]) if own else ""
