"""What all pictures have in common: how much of a colour is seen, the size of text, titles."""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from vitadapter_dense.reports.fonts import picture_font

ALPHA = 0.45  # of the colour of a mask or a label map over the image
FONT_SIZE = 13  # pixels
TITLE_HEIGHT = 22
GROUND_TRUTH, PREDICTION = 'ground truth', 'prediction'


def font(text: str) -> ImageFont.ImageFont | ImageFont.FreeTypeFont:
    """What a text is written in."""
    return picture_font(text, FONT_SIZE)


def side_by_side(pictures: dict[str, np.ndarray]) -> np.ndarray:
    """Pictures (H, W, 3) with their titles: (22 + H, n * W, 3); a single one as it is."""
    if len(pictures) == 1:
        return next(iter(pictures.values()))
    return np.hstack([_titled(picture, title) for title, picture in pictures.items()])


def _titled(picture: np.ndarray, title: str) -> np.ndarray:
    band = Image.new('RGB', (picture.shape[1], TITLE_HEIGHT), 'white')
    place = (picture.shape[1] / 2, TITLE_HEIGHT / 2)
    ImageDraw.Draw(band).text(place, title, fill='black', font=font(title), anchor='mm')
    return np.vstack([np.asarray(band), picture])
