"""Columns of encoded pictures as arrays."""

import io
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from fedqs_ray.core.exceptions import DataError

if TYPE_CHECKING:
    from PIL.Image import Image

Pixels = NDArray[np.uint8]
WIDE = ("I", "I;16", "I;16B", "I;16L", "I;16N", "F")
"""Pillow's modes of grey pictures of more than 8 bits; `convert` would cut off levels above 255."""
GREY = ("L", "1", *WIDE)


def is_image(kind: pa.DataType) -> bool:
    """Whether a column holds encoded pictures: the hub's struct with `bytes`, or plain binary."""
    if pa.types.is_struct(kind) and (place := kind.get_field_index("bytes")) >= 0:
        kind = kind.field(place).type
    return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind))


def decode(what: str, column: pa.ChunkedArray) -> Pixels:
    """Encoded pictures as (n, c, h, w) bytes: three channels if any is in colour, else one. 16-bit grey is scaled to 8.

    Raises `DataError`, which begins with `what`, where a row holds none, or one of another size.
    """
    files = encoded(what, column)
    size = open_picture(what, 0, files[0]).size

    def look(row: int) -> bool:
        """Whether a picture is grey."""
        image = open_picture(what, row, files[row])
        if image.size != size:
            raise DataError(f"{what}: images must have one size; row {row} is {image.size}, the first is {size}")
        return image.mode in GREY

    with ThreadPoolExecutor() as threads:
        grey = all(list(threads.map(look, range(len(files)))))
        pixels = np.empty((len(files), 1 if grey else 3, size[1], size[0]), np.uint8)

        def fill(row: int) -> None:
            try:
                array = np.asarray(eight_bit(open_picture(what, row, files[row])).convert("L" if grey else "RGB"))
            except (OSError, SyntaxError, ValueError) as error:
                raise DataError(f"{what} does not hold a whole image in row {row}: {error}") from None
            pixels[row] = array[None] if grey else array.transpose(2, 0, 1)

        list(threads.map(fill, range(len(files))))
    return pixels


def eight_bit(image: "Image") -> "Image":
    """A picture with its levels, if they are of 16 bits, divided by 256. Raises `ValueError` for wider ones."""
    from PIL import Image

    if image.mode not in WIDE:
        return image
    levels = np.asarray(image)
    if image.mode == "F" or levels.min() < 0 or levels.max() >= 2**16:
        raise ValueError("its levels are not of 8 or 16 bits")
    return Image.fromarray((levels >> 8).astype(np.uint8))


def encoded(what: str, column: pa.ChunkedArray) -> list[bytes]:
    """The file in each row of a column."""
    if not is_image(column.type):
        raise DataError(f"{what} is {column.type}; must hold images")
    chunks = [chunk.field("bytes") if pa.types.is_struct(chunk.type) else chunk for chunk in column.chunks]
    return [data or b"" for chunk in chunks for data in chunk.to_pylist()]


def open_picture(what: str, row: int, data: bytes) -> "Image":
    """Open a picture, reading its head only. Raises `DataError`."""
    from PIL import Image, UnidentifiedImageError

    try:
        return Image.open(io.BytesIO(data))
    except (UnidentifiedImageError, OSError, Image.DecompressionBombError) as error:
        raise DataError(f"{what} does not hold an image in row {row}: {error}") from None


def require_alike(what: str, train: Pixels, test: Pixels) -> None:
    """Raise `DataError`, which begins with `what`, if test pictures differ in shape from training pictures."""
    if test.shape[1:] != train.shape[1:]:
        raise DataError(
            f"{what}: images are {test.shape[1:]}, and {train.shape[1:]} for training; must have the same shape"
        )
