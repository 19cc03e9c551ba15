"""Shakespeare: the next character, by speaking role (McMahan et al. 2017; LEAF, Caldas et al. 2018)."""

import re
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fedqs_ray.core.exceptions import DataError
from fedqs_ray.tasks.samples import Dataset

LENGTH = 80
"""Characters of a sample, before the one to predict (FedQS paper: 80)."""
TEST_SHARE = 0.1
"""Share of each role's words, at their end, in the test set."""
HEADING = re.compile(r"^\s*(ACT|SCENE|PROLOGUE|INDUCTION|EPILOGUE)\b")


def plays(folder: Path) -> list[Path]:
    """The files of a folder of plays, in it or one below. Raises `DataError` where no play is among them."""
    files = sorted(path for path in folder.glob("**/*") if path.is_file() and not path.name.startswith("."))
    found = [path for path in files if path.name.upper().removesuffix(".TXT") not in ("README", "LICENSE")]
    if not found:
        raise DataError(
            f'task.data_dir = "{folder}": holds no plays; must be a folder of text files, one a play, where a speech '
            "starts with SPEAKER, a tab and its first line, and further lines start with a tab"
        )
    return found


def shakespeare(paths: Sequence[Path], stride: int) -> Dataset:
    """Windows of 80 characters, one every `stride`; the last tenth of each role's words is the test set."""
    roles = {f"{path.stem}/{who}": words for path in paths for who, words in speeches(path).items()}
    alphabet = sorted(set().union(*roles.values()))
    if not alphabet or len(alphabet) > 256:
        raise DataError(
            f'task.data_dir = "{paths[0].parent}": must hold plays with at most 256 different characters; '
            f"found {len(alphabet)} in {len(roles)} roles"
        )
    codes = {character: code for code, character in enumerate(alphabet)}
    sides: tuple[list[NDArray[np.uint8]], list[NDArray[np.uint8]]] = ([], [])
    sizes: dict[str, int] = {}
    for who, words in roles.items():
        numbers = np.array([codes[c] for c in words], np.uint8)
        cut = int(numbers.size * (1 - TEST_SHARE))
        train = windows(numbers[:cut], stride)
        if len(train):
            sizes[who] = len(train)
            sides[0].append(train)
            sides[1].append(windows(numbers[cut:], stride))
    if not sizes:
        raise DataError(f'task.data_dir = "{paths[0].parent}": no role there says more than {LENGTH} characters')
    train, test = (np.concatenate(side) for side in sides)
    if not len(test):
        raise DataError(f'task.data_dir = "{paths[0].parent}": too little text for a test set')
    role = np.repeat(np.arange(len(sizes)), list(sizes.values()))
    names = {"client": tuple(sizes), "label": tuple(alphabet)}
    x, y, test_x, test_y = train[:, :-1], train[:, -1], test[:, :-1], test[:, -1]
    return Dataset(
        np.ascontiguousarray(x), y.astype(np.int64), np.ascontiguousarray(test_x), test_y.astype(np.int64),
        len(alphabet), {"client": role}, names, vocabulary=len(alphabet),
    )  # fmt: skip


def windows(numbers: NDArray[np.uint8], stride: int) -> NDArray[np.uint8]:
    """(n, 81): 80 characters and the next, from every `stride`-th place."""
    if numbers.size <= LENGTH:
        return np.empty((0, LENGTH + 1), np.uint8)
    return np.lib.stride_tricks.sliding_window_view(numbers, LENGTH + 1)[::stride]


def speeches(path: Path) -> dict[str, str]:
    """Words of each role of a play, speeches joined by line ends, without stage directions."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f'task.data_dir = "{path.parent}": {path.name} is not a text file: {error}') from None
    title = next((line.strip() for line in lines if line.strip()), "")
    begin = next((number for number, line in enumerate(lines) if HEADING.match(line)), 0)
    said: defaultdict[str, list[str]] = defaultdict(list)
    speaker, inside = None, False
    for line in lines[begin:]:
        before, _, after = line.partition("\t")
        who, words = before.strip(), after.strip()
        if HEADING.match(line) or words == title:
            speaker = None
            continue
        if inside or (not who and words.startswith("[")):
            inside = "]" not in words
            continue
        speaker = who if who and "\t" in line else speaker
        if speaker and words:
            said[speaker].append(words)
    return {who: "\n".join(words) for who, words in said.items()}
