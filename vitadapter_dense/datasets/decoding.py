"""Decode an image file to three channels of 8 bits, or say why that cannot be done rightly.

OpenCV and Pillow convert whatever they are given: 12 bits in 16 become nearly black, floats black,
32-bit integers white. Here a depth is converted where the range of its values is known: 8 bits,
16 bits that are used, or the range that the user names.
"""

from __future__ import annotations

import io
import math
from collections.abc import Sequence

import cv2
import numpy as np
from PIL import Image

from .errors import DatasetError
from .image_headers import ImageHeader, header_of, open_picture
from .truncation import find_truncation

MEND = 'Fetch the file again, or take the image and its annotations out of the annotation file.'
ValueRange = tuple[float, float]
#: A 16-bit image with a value from here on uses its range: 10, 12 and 14 bits, as cameras and
#: scanners write them into 16, end below. Darker ones need a word of the user.
_USES_16_BITS = 2**14
#: Formats by what they begin with, at which place, of which neither codec is built in.
_FOREIGN = (
    (0, b'v/1\x01', 'OpenEXR, floating point'),
    (4, b'ftypheic', 'HEIC'),
    (128, b'DICM', 'DICOM'),
)
_TRANSPOSED = {
    2: lambda image: image[:, ::-1],
    3: lambda image: image[::-1, ::-1],
    4: lambda image: image[::-1],
    5: lambda image: image.swapaxes(0, 1),
    6: lambda image: image.swapaxes(0, 1)[:, ::-1],
    7: lambda image: image[::-1, ::-1].swapaxes(0, 1),
    8: lambda image: image.swapaxes(0, 1)[::-1],
}


def decode_image(data: bytes, *, name: str, value_range: ValueRange | None = None) -> np.ndarray:
    """Decode a whole image file to (H, W, 3) uint8 in BGR, turned as it is to be shown.

    Args:
        data: the bytes of the file.
        name: what error messages call it.
        value_range: black and white in files of more than 8 bits.

    Raises:
        DatasetError: for an empty, cut-off or undecodable file, one that is not one picture, and
            one of another depth whose range is not known.
    """
    if not data:
        raise DatasetError(f'image {name} is empty (0 bytes). {MEND}')
    missing = find_truncation(data)
    if missing is not None:
        raise DatasetError(f'image {name} is cut off ({len(data)} bytes): {missing}. {MEND}')
    header = header_of(data)
    if header is not None and header.problem:
        raise DatasetError(f'image {name} {header.problem}')
    image = _pixels(data, header)
    if image is None:
        raise DatasetError(_undecodable(data, name, header))
    if image.dtype != np.uint8:
        image = _to_bytes(image, name=name, value_range=value_range)
    if image.ndim == 2:
        image = np.repeat(image[..., None], 3, axis=2)
    if header is not None and header.orientation != 1 and not header.is_tiff:
        image = _TRANSPOSED[header.orientation](image)
    return np.ascontiguousarray(image)


def check_value_range(value_range: Sequence[float] | None) -> ValueRange | None:
    """A range of values as a pair of numbers.

    Raises:
        ValueError: when it is not two finite numbers, the first of them the lower one.
    """
    if value_range is None:
        return None
    if len(value_range) == 2 and all(map(math.isfinite, value_range)):
        low, high = value_range
        if low < high:
            return low, high
    raise ValueError(
        f'value_range={value_range!r} must be two numbers, the values of black and of white, e.g. '
        '(0, 4095) for 12 bits'
    )


def _pixels(data: bytes, header: ImageHeader | None) -> np.ndarray | None:
    """Grey or BGR as they lie in the file, of its own depth; None if no codec can."""
    flags = cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION
    if header is None:  # e.g. Radiance HDR
        flags |= cv2.IMREAD_ANYDEPTH
    elif header.deep:
        flags = cv2.IMREAD_UNCHANGED  # alone takes 32 bits of one channel
    try:
        image = cv2.imdecode(np.frombuffer(data, np.uint8), flags)
    except cv2.error:  # e.g. an absurd size in a broken header
        image = None
    if image is None:
        image = _pixels_of_pillow(data)
    return image if image is None or image.ndim == 2 else image[..., :3]


def _pixels_of_pillow(data: bytes) -> np.ndarray | None:
    """What OpenCV was not built for (some TIFF files, TGA), or None."""
    try:
        with open_picture(io.BytesIO(data)) as picture:
            if picture.mode[0] in 'IF':
                return np.asarray(picture)
            return np.asarray(picture.convert('RGB'))[..., ::-1]
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return None


def _to_bytes(image: np.ndarray, *, name: str, value_range: ValueRange | None) -> np.ndarray:
    lowest, highest = image.min(), image.max()
    if value_range is None:
        if image.dtype == np.uint16 and highest >= _USES_16_BITS:
            return (image >> 8).astype(np.uint8)  # as MMCV
        raise DatasetError(
            f'image {name} holds {image.dtype} values from {lowest} to {highest}, and nothing says '
            'which of them are black and white. Mend: name them in the loader, '
            f"dict(type='LoadImageChecked', value_range={_proposal(lowest, highest, image.dtype)})"
            ' in every pipeline, or write the images with 8 bits.'
        )
    low, high = value_range
    if not (math.isfinite(lowest) and math.isfinite(highest)):
        raise DatasetError(
            f'image {name} holds values that are not finite (NaN or infinite). Mend: replace them.'
        )
    beyond = ((image < low) | (image > high)).mean()
    if beyond > 0.5:
        raise DatasetError(
            f'image {name} holds {image.dtype} values from {lowest} to {highest}: {beyond:.0%} of '
            f'them are beyond value_range={value_range}. Mend: name the values that are black and '
            'white in this data set.'
        )
    values = np.clip(image.astype(np.float64), low, high) - low
    if np.issubdtype(image.dtype, np.integer):  # equal steps: the high byte where all are used
        return np.minimum(values * 256 // (high - low + 1), 255).astype(np.uint8)
    return np.rint(values * 255 / (high - low)).astype(np.uint8)


def _proposal(lowest: float, highest: float, dtype: np.dtype) -> str:
    """A range that might be meant, as it is written in a config."""
    if np.issubdtype(dtype, np.integer):
        return f'({min(0, int(lowest))}, {2 ** int(max(1, highest)).bit_length() - 1})'
    if 0 <= lowest <= highest <= 1:
        return '(0, 1)'
    return '(BLACK, WHITE)'


def _undecodable(data: bytes, name: str, header: ImageHeader | None) -> str:
    if header is not None and header.deep:
        return (
            f'image {name} holds values of {header.bits} bits that neither OpenCV nor Pillow '
            'reads. Mend: write it as PNG.'
        )
    for place, mark, kind in _FOREIGN:
        if data[place : place + len(mark)] == mark:
            return f'image {name} cannot be decoded: it is {kind}. Mend: write it as PNG or JPEG.'
    start = data[:8].hex(' ')
    return f'image {name} cannot be decoded ({len(data)} bytes, starting with {start}). {MEND}'
