"""Screenshots as the documentation has them: a little smaller, in few colours, below 200 KB."""

from __future__ import annotations

from pathlib import Path

from PIL import Image

COLOURS = 256
SHOWN = 0.7  # of the screenshot's size


def save_small(picture: Image.Image, out: Path) -> None:
    """Writes the PNG.

    Args:
        picture: the screenshot.
        out: the file.
    """
    size = tuple(round(SHOWN * side) for side in picture.size)
    picture = picture.convert('RGB').resize(size, Image.Resampling.LANCZOS)
    few = picture.quantize(COLOURS, method=Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE)
    few.save(out, optimize=True)
