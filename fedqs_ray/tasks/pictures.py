"""Columns of encoded pictures as arrays."""

import io
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from fedqs_ray.config import SettingError

if TYPE_CHECKING:
    from PIL.Image import Image

Pixels = NDArray[np.uint8]


def is_image(kind: pa.DataType) -> bool:
    """Whether a column holds encoded pictures: the hub's struct with `bytes`, or plain binary."""
    if pa.types.is_struct(kind):
        place = kind.get_field_index("bytes")
        return place >= 0 and is_image(kind.field(place).type)
    return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind))


def decode(what: str, column: pa.ChunkedArray) -> Pixels:
    """Encoded pictures as (n, c, h, w) bytes: one channel if the first is grey, else three.

    Raises `SettingError`, which begins with `what`, where a row holds none, or one of another size.
    """
    files = encoded(what, column)
    first = opened(what, 0, files[0])
    mode, size = "L" if first.mode in ("L", "1", "I;16") else "RGB", first.size
    pixels = np.empty((len(files), 1 if mode == "L" else 3, size[1], size[0]), np.uint8)

    def fill(row: int) -> None:
        image = opened(what, row, files[row])
        if image.size != size:
            raise SettingError(f"{what}: images must have one size; row {row} is {image.size}, the first is {size}")
        try:
            array = np.asarray(image.convert(mode))
        except (OSError, SyntaxError, ValueError) as error:
            raise SettingError(f"{what} does not hold a whole image in row {row}: {error}") from None
        pixels[row] = array[None] if mode == "L" else array.transpose(2, 0, 1)

    with ThreadPoolExecutor() as threads:
        list(threads.map(fill, range(len(files))))
    return pixels


def encoded(what: str, column: pa.ChunkedArray) -> list[bytes]:
    """The file in each row of a column."""
    if not is_image(column.type):
        raise SettingError(f"{what} is {column.type}; must hold images")
    chunks = [chunk.field("bytes") if pa.types.is_struct(chunk.type) else chunk for chunk in column.chunks]
    return [data or b"" for chunk in chunks for data in chunk.to_pylist()]


def opened(what: str, row: int, data: bytes) -> "Image":
    """A picture of which no more than the head is read yet."""
    from PIL import Image, UnidentifiedImageError

    try:
        return Image.open(io.BytesIO(data))
    except (UnidentifiedImageError, OSError, Image.DecompressionBombError) as error:
        raise SettingError(f"{what} does not hold an image in row {row}: {error}") from None


def require_alike(what: str, test: Pixels, train: Pixels) -> None:
    """Raise `SettingError`, which begins with `what`, where test pictures have another shape than training pictures."""
    if test.shape[1:] != train.shape[1:]:
        raise SettingError(
            f"{what}: images are {test.shape[1:]}, and {train.shape[1:]} for training; must have the same shape"
        )
