"""Draws what the README's example of `Predictor` finds, and what the same model finds in a photo.

    make train
    python tools/pictures/predictions.py work_dirs/shapes/mask_rcnn_vitadapter_xs \
        data/shapes/val/000000.jpg predictions.jpg

The photo shows Greek coins, from scikit-image's data (Brooklyn Museum, no known copyright
restrictions). The model has seen nothing but generated shapes.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

# A checkout that is not installed works too; an installed package goes first.
sys.path.append(str(Path(__file__).resolve().parents[2]))
sys.path.append(str(Path(__file__).resolve().parents[2] / 'ops'))

from new_file import new_file


def parse_args() -> argparse.Namespace:
    """Reads the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('work_dir', type=Path, help='of make train')
    parser.add_argument('image', type=Path, help='of the example')
    parser.add_argument('out', type=new_file, help='JPEG to write')
    return parser.parse_args()


if __name__ == '__main__':
    parse_args()  # what the command line shows to be wrong ends here, before the slow imports

import numpy as np
from PIL import Image
from skimage.data import coins

from vitadapter_dense import Predictor

HEIGHT = 480  # pixels of the picture


def compose(pictures: list[Image.Image]) -> Image.Image:
    """The pictures beside each other, brought to one height."""
    sized = [
        picture.resize((picture.width * HEIGHT // picture.height, HEIGHT)) for picture in pictures
    ]
    return Image.fromarray(np.hstack([np.asarray(picture.convert('RGB')) for picture in sized]))


def main() -> None:
    """Runs the tool."""
    args = parse_args()
    predictor = Predictor(args.work_dir)
    with tempfile.TemporaryDirectory() as folder:
        found = [predictor(args.image), predictor(Image.fromarray(coins()))]
        files = [one.save(Path(folder, f'{number}.png')) for number, one in enumerate(found)]
        compose([Image.open(file) for file in files]).save(args.out, quality=85)


if __name__ == '__main__':
    main()
