"""Load an image as MMCV's `LoadImageFromFile` does, but whole or with an error that names the file.

MMCV's own transform ends in an assertion or an error of the codec, and OpenCV, depending on its
version and on where the bytes come from, decodes a truncated JPEG without a word, the missing part
grey. Here a missing, broken or cut-off image, or one that is not the size its annotations are for,
is a `DatasetError` that names the file and the mend.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from mmengine import fileio
from mmengine.registry import TRANSFORMS

from .decoding import MEND, ValueRange, check_value_range, decode_image
from .errors import DatasetError
from .image_headers import explain_turn, header_of


@TRANSFORMS.register_module()
class LoadImageChecked:
    """Load `results['img_path']` as a BGR image with three channels.

    Grey, palette, CMYK and transparent files are converted, and 16-bit ones that use their range;
    the orientation of the EXIF data is applied, whatever the format. Files of other depths (12 bits
    in 16, 32 bits, floating point) need a `value_range`: nothing in them says what is black and
    what white. Several pictures in a file, or channels without colours, are refused.

    Reads `img_path`, and `height` and `width` where the annotations give them. Sets `img` (H, W,
    3), `img_shape` and `ori_shape` (H, W).

    Args:
        to_float32: float32 instead of uint8.
        value_range: the values that are black and white in files of more than 8 bits, e.g. (0,
            4095) for 12 bits; values beyond are clipped. Files of 8 bits do not need it, and are
            read as without.
        backend_args: arguments of MMEngine's file backend, for files that are not on a local disk.

    Raises:
        ValueError: a `value_range` that is none.
        DatasetError: when called, for an image that cannot be used.
    """

    def __init__(
        self,
        to_float32: bool = False,
        *,
        value_range: ValueRange | None = None,
        backend_args: dict | None = None,
    ) -> None:
        self.to_float32 = to_float32
        self.value_range = check_value_range(value_range)
        self.backend_args = None if backend_args is None else dict(backend_args)

    def __call__(self, results: dict) -> dict:
        path = results['img_path']
        try:
            data = fileio.get(path, backend_args=self.backend_args)
        except OSError as error:
            raise DatasetError(f'image {path} cannot be read: {error}. {MEND}') from error
        image = decode_image(data, name=path, value_range=self.value_range)
        expected = (results.get('height'), results.get('width'))
        if None not in expected and expected != image.shape[:2]:
            raise DatasetError(other_size(path, image.shape[1::-1], expected[::-1], data))
        results['img'] = image.astype(np.float32) if self.to_float32 else image
        results['img_shape'] = image.shape[:2]
        results['ori_shape'] = image.shape[:2]
        return results

    def __repr__(self) -> str:
        name = type(self).__name__
        options = f'to_float32={self.to_float32}, value_range={self.value_range}'
        return f'{name}({options}, backend_args={self.backend_args})'


@TRANSFORMS.register_module()
class LoadImageOfSet(LoadImageChecked):
    """As `LoadImageChecked`, for data sets that keep their images in memory (MMPretrain's CIFAR).

    What lies in `img`, (H, W, 3) uint8, RGB, is handed on as BGR, as what is read from files.
    """

    def __call__(self, results: dict) -> dict:
        if 'img' not in results:
            return super().__call__(results)
        image = np.ascontiguousarray(results['img'][..., ::-1])
        results['img'] = image.astype(np.float32) if self.to_float32 else image
        results['img_shape'] = results['ori_shape'] = image.shape[:2]
        return results


def other_size(
    name: str, size: tuple[int, int], expected: tuple[int, int], data: bytes | None = None
) -> str:
    """The message for an image that is not as large as its annotations say.

    Args:
        name: of the image file.
        size, expected: width and height, found and annotated.
        data: of the file, which may say that the image was turned.
    """
    text = (
        f'image {name} is {size[0]} x {size[1]} pixels, but its annotations are for {expected[0]} '
        f'x {expected[1]} (width x height)'
    )
    turn = explain_turn(header_of(data), expected) if data else ''
    if turn:
        return f'{text}.{turn}'
    return (
        f'{text}: the file is not the one that was annotated, or `width` and `height` in the '
        'annotation file are wrong. Mend one of the two.'
    )


def value_range_of(pipeline: Iterable[Mapping[str, Any]] | None) -> ValueRange | None:
    """The `value_range` that the image loader of a pipeline's config has."""
    for step in pipeline or ():
        if str(step.get('type')).split('.')[-1] == LoadImageChecked.__name__:
            return check_value_range(step.get('value_range'))
    return None
