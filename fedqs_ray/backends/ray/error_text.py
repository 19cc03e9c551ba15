"""The user's own code in a traceback that Ray passed on."""

import re
import sysconfig
from pathlib import Path

from fedqs_ray.core.text import plain_message

FRAME = re.compile(r'File "(.+?)", line (\d+), in (\S+)')

OTHERS = (str(Path(__file__).parent), sysconfig.get_path("stdlib"), "<")
"""Where what a user did not write begins: this package, Python's library, what has no file."""


def locate_user_code(error: BaseException) -> str:
    """' (mine.py:12, in plan)': the last line of the user's own code in a traceback; "" if there is none."""
    frames = FRAME.findall(plain_message(error))
    own = [frame for frame in frames if not frame[0].startswith(OTHERS) and "site-packages" not in frame[0]]
    return " ({}:{}, in {})".format(Path(own[-1][0]).name, *own[-1][1:]) if own else ""
