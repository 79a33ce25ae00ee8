"""Look into the headers of a data set's image files before training, and decode a few of them.

A header takes a tenth of a millisecond, and says most of what would end a training later: another
size than the annotations', the turn of a photograph, other depths, several pictures in one file.
"""

from __future__ import annotations

from collections.abc import Sequence

from .decoding import ValueRange, decode_image
from .errors import DatasetError
from .image_headers import ImageHeader, read_header
from .load_seg_map import map_problem, other_map_size
from .loading import other_size

#: headers that are read of a split, spread over it; check_dataset.py reads all files whole
_HEADERS = 2000
#: images that are decoded: the first of all, and the first of those with other depths
_DECODED = 8

Size = tuple[int, int]


def check_image_files(
    images: Sequence[str],
    *,
    sizes: Sequence[Size] | None = None,
    maps: Sequence[str] | None = None,
    value_range: ValueRange | None = None,
) -> list[str]:
    """Check files that are there.

    Args:
        images: image files.
        sizes: width and height that each should have.
        maps: the label map of each.
        value_range: that of the pipeline's loader.

    Returns:
        warnings: that images carry an EXIF orientation.

    Raises:
        DatasetError: for the first that cannot be used as it is.
    """
    step = max(1, -(-len(images) // _HEADERS))
    left = dict(deep=_DECODED, ordinary=_DECODED)
    turned: list[tuple[str, str]] = []
    for index in range(0, len(images), step):
        image = images[index]
        header = read_file_header(image)
        kind = 'deep' if header is None or header.deep else 'ordinary'
        if header is None or header.problem or left[kind]:
            left[kind] -= 1
            with open(image, 'rb') as stream:
                decode_image(stream.read(), name=image, value_range=value_range)
        if header is None:
            continue
        if header.turn:
            turned.append((image, header.turn))
        if sizes is not None and header.shown != tuple(sizes[index]):
            with open(image, 'rb') as stream:
                raise DatasetError(other_size(image, header.shown, sizes[index], stream.read()))
        if maps is not None:
            _check_map(maps[index], image, header)
    return [warn_of_turns(len(turned), *turned[0])] if turned else []


def warn_of_turns(number: int, first: str, turn: str = 'an EXIF orientation') -> str:
    """That images are turned before they are used, which equal sizes may hide."""
    return (
        f'images that are turned when they are read, as their EXIF data say ({number}): first '
        f'{first}, {turn}. Their annotations must be those of the images as viewers show them'
    )


def read_file_header(path: str) -> ImageHeader | None:
    """The header of a file on the disk; `None` if Pillow cannot read it."""
    with open(path, 'rb') as stream:
        return read_header(stream)


def _check_map(path: str, image: str, image_header: ImageHeader) -> None:
    header = read_file_header(path)
    if header is None:  # the loader says more, when it reads it
        return
    if problem := map_problem(header):
        raise DatasetError(f'label map {path} {problem}')
    if header.stored != image_header.shown:
        expected = image_header.shown
        raise DatasetError(other_map_size(path, header.stored, image, expected, image_header))
