"""Load a label map as MMSegmentation's `LoadAnnotations` does, or name the file in the error.

MMSegmentation casts every map to a byte, so that label 256 of a 16-bit PNG becomes 0, takes a
coloured picture of the labels for the labels themselves, and crops a map that is not as large as
its image where the image is cropped. Here each of these is a `DatasetError`. Which labels are
classes, the loader does not know; the run's `CheckLabelsHook` does.
"""

from __future__ import annotations

import io

import numpy as np
from mmengine import fileio
from mmengine.registry import TRANSFORMS
from PIL import Image, UnidentifiedImageError

from .errors import DatasetError
from .image_headers import ImageHeader, explain_turn, header_of, open_picture

IGNORED = 255
_COLOUR_MODES = ('RGB', 'RGBA', 'CMYK', 'YCbCr', 'LAB', 'HSV')


@TRANSFORMS.register_module()
class LoadAnnotationsChecked:
    """Load `results['seg_map_path']` as a map of class numbers, 255 where a pixel is ignored.

    Reads `seg_map_path`, `ori_shape` (of the image, which is loaded before), and the data set's
    `reduce_zero_label` and `label_map`. Sets `gt_seg_map` (H, W) uint8 and adds it to `seg_fields`.

    Args:
        backend_args: arguments of MMEngine's file backend, for files that are not on a local disk.

    Raises:
        DatasetError: when called, for a map that cannot be used.
    """

    def __init__(self, *, backend_args: dict | None = None) -> None:
        self.backend_args = None if backend_args is None else dict(backend_args)

    def __call__(self, results: dict) -> dict:
        path, image = results.get('seg_map_path'), results['img_path']
        if path is None:
            raise DatasetError(
                f'image {image} has no label map: the data set names no folder of maps. Mend: '
                "give data_prefix=dict(img_path=..., seg_map_path='FOLDER')."
            )
        try:
            data = fileio.get(path, backend_args=self.backend_args)
        except OSError as error:
            raise DatasetError(
                f'image {image} has no label map: {path} cannot be read ({error}). Mend: add the '
                'map, take the image out, or correct img_suffix and seg_map_suffix.'
            ) from error
        labels = decode_labels(data, name=path)
        expected = tuple(results['ori_shape'])
        if labels.shape != expected:
            header = self._header_of_image(image)
            raise DatasetError(
                other_map_size(path, labels.shape[::-1], image, expected[::-1], header)
            )
        results['gt_seg_map'] = to_classes(
            labels,
            reduce_zero_label=results.get('reduce_zero_label', False),
            label_map=results.get('label_map'),
        )
        results.setdefault('seg_fields', []).append('gt_seg_map')
        return results

    def _header_of_image(self, path: str) -> ImageHeader | None:
        try:
            return header_of(fileio.get(path, backend_args=self.backend_args))
        except OSError:
            return None

    def __repr__(self) -> str:
        return f'{type(self).__name__}(backend_args={self.backend_args})'


def decode_labels(data: bytes, *, name: str) -> np.ndarray:
    """Decode a label map to (H, W) uint8, the values as they are in the file.

    Args:
        data: the bytes of the file, of any format with one channel (PNG, TIFF, BMP).
        name: what error messages call it.

    Raises:
        DatasetError: for a broken file, one with colours, and one with values beyond a byte.
    """
    if not data:
        raise DatasetError(f'label map {name} is empty (0 bytes). Mend: write it again.')
    header = header_of(data)
    if header is not None and (problem := map_problem(header)):
        raise DatasetError(f'label map {name} {problem}')
    try:
        with open_picture(io.BytesIO(data)) as picture:
            mode, labels = picture.mode, np.asarray(picture)
    except Image.DecompressionBombError as error:
        raise DatasetError(
            f'label map {name} is a TIFF in one piece, which Pillow refuses at this size '
            f'({error}). Mend: write it again as PNG, which is read whatever its size.'
        ) from error
    except (OSError, ValueError, SyntaxError) as error:
        reason = 'no known format' if isinstance(error, UnidentifiedImageError) else error
        raise DatasetError(
            f'label map {name} cannot be decoded ({len(data)} bytes): {reason}. Mend: write it '
            'again as PNG.'
        ) from error
    if mode in _COLOUR_MODES or labels.ndim != 2:
        raise DatasetError(
            f'label map {name} holds colours (mode {mode}), not class numbers. Mend: write a PNG '
            'with one byte a pixel whose values are the class numbers; a palette may go with it.'
        )
    if mode == '1':
        return labels.astype(np.uint8)
    if mode == 'L' and header is not None and header.bits in (2, 4):
        return labels // (255 // (2**header.bits - 1))  # Pillow spreads them over a byte
    if not np.issubdtype(labels.dtype, np.integer):
        raise DatasetError(
            f'label map {name} holds {labels.dtype} values, not class numbers. Mend: write a PNG '
            'with one byte a pixel.'
        )
    if labels.size and not 0 <= labels.min() <= labels.max() <= IGNORED:
        raise DatasetError(
            f'label map {name} has values from {labels.min()} to {labels.max()}, and a byte ends '
            f'at {IGNORED}. Mend: number the classes from 0 and write {IGNORED} where a pixel is '
            'to be ignored.'
        )
    return labels.astype(np.uint8, copy=False)


def map_problem(header: ImageHeader) -> str:
    """Why a file cannot be a label map, with the mend, to go on after its name; or empty."""
    if header.turn:
        return (
            f'carries {header.turn}, which image viewers apply and MMSegmentation does not. Mend: '
            'write it again without EXIF data, lying as its image is shown.'
        )
    return header.problem


def other_map_size(
    name: str | None,
    size: tuple[int, int],
    image: str,
    expected: tuple[int, int],
    header: ImageHeader | None,
) -> str:
    """The message for a label map that is not as large as its image.

    Args:
        name: of the map's file.
        size: width and height of the map.
        image: of the image's file.
        expected: width and height of the image, as it is shown.
        header: of the image, which may say that it was turned.
    """
    text = (
        f'label map {name} is {size[0]} x {size[1]} pixels, but its image {image} is '
        f'{expected[0]} x {expected[1]} (width x height).'
    )
    turn = explain_turn(header, size)
    if turn:
        return text + turn.replace('The file', 'The image', 1)
    return f'{text} Mend: make the map from this very image; do not resize one of the two alone.'


def to_classes(
    labels: np.ndarray, *, reduce_zero_label: bool, label_map: dict[int, int] | None
) -> np.ndarray:
    """Turn the values of a file into class numbers, as MMSegmentation does.

    Args:
        labels: (H, W) uint8 as stored.
        reduce_zero_label: 0 becomes ignored, and every other value one less.
        label_map: old to new numbers, of a data set that is used with some of its classes.
    """
    table = np.arange(256, dtype=np.uint8)
    if reduce_zero_label:
        table = table - 1  # 0 wraps around to 255
        table[IGNORED] = IGNORED
    if label_map:
        renamed = np.arange(256, dtype=np.uint8)
        renamed[list(label_map)] = list(label_map.values())
        table = renamed[table]
    return table[labels]
