"""Fonts that have the letters of class names, Chinese, Japanese and Korean ones too.

Pillow's own font has few letters beyond ASCII, Matplotlib's has those of many alphabets; what
neither has is looked for among the fonts of the machine, and what none has is told once.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from functools import lru_cache

from matplotlib import font_manager, rcParams
from matplotlib.ft2font import FT2Font
from mmengine.logging import print_log
from PIL import ImageFont

_told: set[str] = set()


def picture_font(text: str, size: int) -> ImageFont.ImageFont | ImageFont.FreeTypeFont:
    """The font that a text is written in on a picture.

    Args:
        size: of its letters, in pixels.
    """
    letters = _beyond_ascii(text)
    if not letters:
        return _pillow_font(size)
    files = [_plot_font(), *_files_for(letters)]
    best = max(files, key=lambda file: len(letters & _letters(file)))  # the first of several
    return _font_of(best, size)


def plot_families(texts: Iterable[str]) -> list[str]:
    """The font families for texts of a plot: Matplotlib's own, and what letters need besides."""
    families = list(rcParams['font.family'])
    for file in _files_for(_beyond_ascii(''.join(texts))):
        family = FT2Font(file).family_name
        if family not in font_manager.get_font_names():
            font_manager.fontManager.addfont(file)
        families.append(family)
    return families


def _beyond_ascii(text: str) -> frozenset[str]:
    return frozenset(letter for letter in text if not (letter.isascii() or letter.isspace()))


@lru_cache(maxsize=64)
def _files_for(letters: frozenset[str]) -> tuple[str, ...]:
    """Fonts of the machine that have, together, the letters that Matplotlib's own lacks."""
    missing, files = letters - _letters(_plot_font()), []
    candidates = sorted(font_manager.findSystemFonts()) if missing else []
    while missing and candidates:
        best = max(candidates, key=lambda file: len(missing & _letters(file)))
        if not missing & _letters(best):
            break
        files.append(best)
        missing -= _letters(best)
    if missing:
        _tell(missing)
    return tuple(files)


@lru_cache(maxsize=1024)
def _letters(file: str) -> frozenset[str]:
    try:
        return frozenset(map(chr, FT2Font(file).get_charmap()))
    except (OSError, RuntimeError):  # a broken file, or a kind that is not read
        return frozenset()


@lru_cache(maxsize=1)
def _plot_font() -> str:
    return font_manager.findfont('DejaVu Sans')


@lru_cache(maxsize=4)
def _pillow_font(size: int) -> ImageFont.ImageFont | ImageFont.FreeTypeFont:
    return ImageFont.load_default(size)


@lru_cache(maxsize=16)
def _font_of(file: str, size: int) -> ImageFont.FreeTypeFont:
    return ImageFont.truetype(file, size)


def _tell(missing: frozenset[str]) -> None:
    if _told:
        return
    _told.update(missing)
    some = ''.join(sorted(missing)[:10])
    print_log(
        f'no font of this machine has the letters {some}: pictures and plots show boxes in their '
        'place. Mend: install one that has them, such as the package fonts-noto-cjk of Debian',
        logger='current',
        level=logging.WARNING,
    )
