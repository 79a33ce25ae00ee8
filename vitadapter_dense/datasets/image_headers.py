"""What an image file says of itself before its pixels are decoded: size, turn, depth, pages.

Codecs answer a file that is no ordinary 8-bit picture in silence: OpenCV takes the first of five
channels and of five pages, and turns a JPEG as its EXIF data say, but no WebP. Here that is read
from the header, so that every reader of the project decides alike, and seconds before a training.
"""

from __future__ import annotations

import dataclasses
import io
import struct
from collections.abc import Iterator
from typing import BinaryIO

from PIL import ExifTags, Image, TiffImagePlugin, UnidentifiedImageError

#: pixels of one picture, OpenCV's own limit: CV_IO_MAX_IMAGE_PIXELS
MAX_PIXELS = 2**30
#: by how many degrees to the right a picture is turned to be shown, and whether it is mirrored
_TURNS = {
    2: 'mirror it',
    3: 'turn it by 180 degrees',
    4: 'turn it by 180 degrees and mirror it',
    5: 'turn it by 90 degrees to the right and mirror it',
    6: 'turn it by 90 degrees to the right',
    7: 'turn it by 90 degrees to the left and mirror it',
    8: 'turn it by 90 degrees to the left',
}
_SWAPPED = (5, 6, 7, 8)
#: what TIFF files say of deep values that OpenCV gives as grey or BGR; the last are LogL and LogLuv
_GREY_OR_RGB = (1, 2, 32844, 32845)
_TIFF_STARTS = (b'II*\0', b'MM\0*', b'II+\0', b'MM\0+')
_BROKEN = (OSError, ValueError, SyntaxError, KeyError, IndexError, TypeError, struct.error)


@dataclasses.dataclass(frozen=True)
class ImageHeader:
    """What a file says of its picture.

    Attributes:
        stored: width and height as the pixels lie in the file.
        orientation: of the EXIF data, 1 (as it lies) to 8.
        bits: of one value.
        deep: the values are not those of 8 unsigned bits or less.
        pages: pictures in the file; smaller copies of the first do not count.
        channels: what the channels are, where that cannot be told; otherwise empty.
        is_tiff: of which OpenCV and Pillow turn the pixels themselves.
    """

    stored: tuple[int, int]
    orientation: int = 1
    bits: int = 8
    deep: bool = False
    pages: int = 1
    channels: str = ''
    is_tiff: bool = False

    @property
    def shown(self) -> tuple[int, int]:
        """Width and height of the picture that viewers show, and every loader here gives."""
        return self.stored[::-1] if self.orientation in _SWAPPED else self.stored

    @property
    def problem(self) -> str:
        """Why the file is not one picture, with the mend, to go on after its name; or empty."""
        width, height = self.stored
        if width * height > MAX_PIXELS:
            return (
                f'is {width} x {height} pixels, more than {MAX_PIXELS}: cut it, and its '
                'annotations, into tiles.'
            )
        if self.pages > 1:
            return (
                f'holds {self.pages} pictures, and the annotations are of one: save that one as a '
                'file of its own, e.g. as PNG (a sequence is for tools/demo/video_demo.py).'
            )
        if self.channels:
            return (
                f'has {self.channels}, and nothing says which are red, green and blue: write the '
                'three that the model is to see as an RGB file.'
            )
        return ''

    @property
    def turn(self) -> str:
        """The EXIF orientation in words; empty where there is none."""
        if self.orientation == 1:
            return ''
        return f'the EXIF orientation {self.orientation} ({_TURNS[self.orientation]} to show it)'


def read_header(stream: BinaryIO) -> ImageHeader | None:
    """Read the header of a file; `None` for a format that Pillow does not know, or a broken one."""
    start = stream.read(32)
    stream.seek(0)
    try:
        if start[:4] in _TIFF_STARTS:
            return _tiff_header(stream)
        picture = open_picture(stream)
        deep = picture.mode[0] in 'IF'
        bits = 16 if deep else 8
        if start.startswith(b'\x89PNG'):  # of which Pillow's mode hides the depth
            bits = start[24]
            deep = bits > 8
        return ImageHeader(
            stored=picture.size,
            orientation=_orientation(picture),
            bits=bits,
            deep=deep,
            # JPEG: what cameras append (MPO) are previews and second views of the first
            pages=1 if start.startswith(b'\xff\xd8') else getattr(picture, 'n_frames', 1),
        )
    except _BROKEN:
        return None


def open_picture(stream: BinaryIO) -> Image.Image:
    """`PIL.Image.open` without its guard against large pictures, which is not OpenCV's.

    Pillow takes 180 million pixels for an attack, an ordinary size of maps and slides. The limit
    here is that of images, `ImageHeader.problem`, so that a label map is read where its image is.

    Raises:
        UnidentifiedImageError: a format that Pillow does not know, or a broken header.
    """
    Image.init()
    start = stream.read(16)
    for name in Image.ID:
        factory, accepts = Image.OPEN[name]
        try:
            if accepts is not None and accepts(start) is not True:
                continue
            stream.seek(0)
            return factory(stream, '')
        except (SyntaxError, IndexError, TypeError, KeyError, struct.error):
            continue  # not this format after all
    raise UnidentifiedImageError('no known format')


def explain_turn(header: ImageHeader | None, expected: tuple[int, int]) -> str:
    """How the EXIF orientation of an image explains that its size is not the expected one.

    Args:
        header: of the image.
        expected: width and height that its annotations are for.

    Returns:
        sentences with the mend, to be put behind the error; empty where the image is not turned.
    """
    if header is None or header.orientation == 1:
        return ''
    text = f' The file carries {header.turn}, which is applied, as viewers do'
    if expected != header.stored:
        return f'{text}.'
    return (
        f'{text}; the annotations are for the pixels as they are stored, {expected[0]} x '
        f'{expected[1]}. Mend: take the orientation out of the file (exiftool -Orientation= FILE), '
        'or make the annotations for the image as it is shown.'
    )


def _orientation(picture: Image.Image) -> int:
    """Of the EXIF data, where they stand before the pixels: those of a PNG may follow them."""
    if picture.format == 'PNG' and 'exif' not in picture.info:
        return 1
    try:
        value = picture.getexif().get(ExifTags.Base.Orientation, 1)
    except _BROKEN:
        return 1
    return value if value in _TURNS else 1


def _tiff_header(stream: BinaryIO) -> ImageHeader:
    pages = [page for page in _tiff_pages(stream) if not page.get(254, 0) & 5]  # no copies, masks
    tags = pages[0]
    samples, photometric = tags.get(TiffImagePlugin.SAMPLESPERPIXEL, 1), tags.get(262, 1)
    extra = tags.get(TiffImagePlugin.EXTRASAMPLES, ())
    bits = max(tags.get(TiffImagePlugin.BITSPERSAMPLE, (1,)))
    # unsigned where nothing is said, 4: undefined
    unsigned = set(tags.get(TiffImagePlugin.SAMPLEFORMAT, (1,))) <= {1, 4}
    channels, deep = '', bits > 8 or not unsigned
    has_alpha = samples == 2 and extra and extra[0] in (1, 2)
    if photometric in (0, 1) and samples > 1 and not has_alpha:
        channels = f'{samples} channels without colours'
    elif deep and photometric not in _GREY_OR_RGB:
        channels = f'channels of {bits} bits that are neither grey nor RGB (kind {photometric})'
    orientation = tags.get(ExifTags.Base.Orientation, 1)
    return ImageHeader(
        stored=(tags[TiffImagePlugin.IMAGEWIDTH], tags[TiffImagePlugin.IMAGELENGTH]),
        orientation=orientation if orientation in _TURNS else 1,
        bits=bits,
        deep=deep,
        pages=len(pages),
        channels=channels,
        is_tiff=True,
    )


def _tiff_pages(stream: BinaryIO) -> Iterator[TiffImagePlugin.ImageFileDirectory_v2]:
    start = stream.read(8)
    if start[2:4] in (b'+\0', b'\0+'):  # BigTIFF, whose offsets have 8 bytes
        start += stream.read(8)
    directory = TiffImagePlugin.ImageFileDirectory_v2(start)
    seen: set[int] = set()
    while directory.next and directory.next not in seen:
        seen.add(directory.next)
        stream.seek(directory.next)
        page = TiffImagePlugin.ImageFileDirectory_v2(start)
        page.load(stream)
        yield page
        directory = page


def header_of(data: bytes) -> ImageHeader | None:
    """The header of a file in memory."""
    return read_header(io.BytesIO(data))
