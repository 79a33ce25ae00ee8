"""Load an image as MMCV's `LoadImageFromFile` does, but whole or with an error that names the file.

MMCV's own transform ends in an assertion or an error of the codec, and OpenCV, depending on its
version and on where the bytes come from, decodes a truncated JPEG without a word, the missing part
grey. Here a missing, broken or cut-off image, or one that is not the size its annotations are for,
is a `DatasetError` that names the file and the mend.
"""

from __future__ import annotations

import io
import re

import cv2
import numpy as np
from mmengine import fileio
from mmengine.registry import TRANSFORMS

from .errors import DatasetError

_MEND = 'Fetch the file again, or take the image and its annotations out of the annotation file.'
_JPEG_START, _JPEG_END = b'\xff\xd8', b'\xff\xd9'
_PNG_START = b'\x89PNG\r\n\x1a\n'
#: in entropy-coded data: any marker but a stuffed byte, a fill byte or a restart
_JPEG_MARKER = re.compile(rb'\xff[^\x00\xff\xd0-\xd7]')


@TRANSFORMS.register_module()
class LoadImageChecked:
    """Load `results['img_path']` as a BGR image with three channels.

    Grey, palette, CMYK, 16-bit and transparent files are converted; the orientation of the EXIF
    data is applied.

    Reads `img_path`, and `height` and `width` where the annotations give them. Sets `img` (H, W,
    3), `img_shape` and `ori_shape` (H, W).

    Args:
        to_float32: float32 instead of uint8.
        backend_args: arguments of MMEngine's file backend, for files that are not on a local disk.

    Raises:
        DatasetError: when called, for an image that cannot be used.
    """

    def __init__(self, to_float32: bool = False, *, backend_args: dict | None = None) -> None:
        self.to_float32 = to_float32
        self.backend_args = None if backend_args is None else dict(backend_args)

    def __call__(self, results: dict) -> dict:
        path = results['img_path']
        try:
            data = fileio.get(path, backend_args=self.backend_args)
        except OSError as error:
            raise DatasetError(f'image {path} cannot be read: {error}. {_MEND}') from error
        image = decode_image(data, name=path)
        expected = (results.get('height'), results.get('width'))
        if None not in expected and expected != image.shape[:2]:
            raise DatasetError(
                f'image {path} is {image.shape[1]} x {image.shape[0]} pixels, but its annotations '
                f'are for {expected[1]} x {expected[0]} (width x height): the file is not the one '
                'that was annotated, or `width` and `height` in the annotation file are wrong. '
                'Mend one of the two.'
            )
        results['img'] = image.astype(np.float32) if self.to_float32 else image
        results['img_shape'] = image.shape[:2]
        results['ori_shape'] = image.shape[:2]
        return results

    def __repr__(self) -> str:
        name = type(self).__name__
        return f'{name}(to_float32={self.to_float32}, backend_args={self.backend_args})'


def decode_image(data: bytes, *, name: str) -> np.ndarray:
    """Decode a whole image file to (H, W, 3) uint8 in BGR.

    Args:
        data: the bytes of the file.
        name: what error messages call it.

    Raises:
        DatasetError: for an empty, cut-off or undecodable file.
    """
    if not data:
        raise DatasetError(f'image {name} is empty (0 bytes). {_MEND}')
    missing = find_truncation(data)
    if missing is not None:
        raise DatasetError(f'image {name} is cut off ({len(data)} bytes): {missing}. {_MEND}')
    try:
        image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    except cv2.error:  # e.g. an absurd size in a broken header
        image = None
    if image is None:
        image = _decode_with_pillow(data)
    if image is None:
        start = data[:8].hex(' ')
        raise DatasetError(
            f'image {name} cannot be decoded ({len(data)} bytes, starting with {start}). {_MEND}'
        )
    return image


def _decode_with_pillow(data: bytes) -> np.ndarray | None:
    """What OpenCV was not built for (GIF, some TIFF files), or None."""
    from PIL import Image

    try:
        with Image.open(io.BytesIO(data)) as picture:
            return np.ascontiguousarray(np.asarray(picture.convert('RGB'))[..., ::-1])
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return None


def find_truncation(data: bytes) -> str | None:
    """What a JPEG, PNG or WebP file lacks at its end; None if it is whole or of another format."""
    if data.startswith(_JPEG_START):
        if not data.endswith(_JPEG_END) and not _has_jpeg_end(data):
            return 'the end-of-image marker of the JPEG is missing'
    elif data.startswith(_PNG_START):
        if b'IEND' not in data[-64:] and b'IEND' not in data:
            return 'the IEND chunk of the PNG is missing'
    elif data.startswith(b'RIFF') and data[8:12] == b'WEBP':
        size = int.from_bytes(data[4:8], 'little') + 8
        if len(data) < size:
            return f'the WebP should have {size} bytes'
    return None


def _has_jpeg_end(data: bytes) -> bool:
    """Walk a JPEG to its end marker; bytes may follow that, and thumbnails hold another one."""
    position = 2
    while position + 4 <= len(data):
        if data[position] != 0xFF:
            return False
        marker = data[position + 1]
        if marker == 0xFF:  # a fill byte
            position += 1
            continue
        if marker == 0xD9:
            return True
        position += 2 + int.from_bytes(data[position + 2 : position + 4], 'big')
        if marker == 0xDA:  # start of scan: entropy-coded data follows
            found = _JPEG_MARKER.search(data, position)
            if found is None:
                return False
            position = found.start()
    return data[position : position + 2] == _JPEG_END
