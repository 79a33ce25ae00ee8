"""Composes the first picture of the README from pictures of the quick start.

    make train
    python tools/pictures/quick_start.py work_dirs/shapes/mask_rcnn_vitadapter_xs/pictures \
        quick_start.jpg

Each picture that `make train` draws has the ground truth on its left half and the predictions on
its right half; here they stand above each other, with a legend of the classes.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

# A checkout that is not installed works too; an installed package goes first.
sys.path.append(str(Path(__file__).resolve().parents[2]))
sys.path.append(str(Path(__file__).resolve().parents[2] / 'ops'))

from new_file import new_file


def parse_args() -> argparse.Namespace:
    """Reads the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('folder', type=Path, help='pictures of make train')
    parser.add_argument('path', type=new_file, help='JPEG to write')
    parser.add_argument('--numbers', type=int, nargs='+', default=[6, 3, 8, 18], help='which ones')
    args = parser.parse_args()
    args.files = [args.folder / f'{number:06d}.png' for number in args.numbers]
    missing = [str(file) for file in args.files if not file.is_file()]
    if missing:
        parser.error(f'there is no {", ".join(missing)}: make train draws them')
    return args


if __name__ == '__main__':
    parse_args()  # what the command line shows to be wrong ends here, before the slow imports

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.patches import Patch

from vitadapter_dense.datasets.shapes import SHAPES_CLASSES, SHAPES_PALETTE
from vitadapter_dense.reports.picture_style import TITLE_HEIGHT

ROWS = ('ground truth', 'predicted')
WIDTH = 8.0  # inches; the README shows 100 pixels an inch


def compose(pictures: Sequence[np.ndarray]) -> plt.Figure:
    """One column a picture `(H, 2 * W, 3)`."""
    side = (WIDTH - 0.3) / len(pictures)
    figure, cells = plt.subplots(
        2, len(pictures), figsize=(WIDTH, 2 * side + 0.3), layout='constrained', squeeze=False
    )
    figure.get_layout_engine().set(w_pad=0.02, h_pad=0.02, wspace=0, hspace=0)
    for column, picture in enumerate(pictures):
        for row, half in enumerate(np.split(picture[TITLE_HEIGHT:], 2, axis=1)):
            axes = cells[row, column]
            axes.imshow(half, interpolation='antialiased')
            axes.set(xticks=[], yticks=[])
            axes.spines[:].set_visible(False)
    for row, name in enumerate(ROWS):
        cells[row, 0].set_ylabel(name, fontsize=11)
    patches = [
        Patch(color=np.divide(color, 255), label=name)
        for name, color in zip(SHAPES_CLASSES, SHAPES_PALETTE, strict=True)
    ]
    figure.legend(
        handles=patches,
        loc='outside lower center',
        ncols=len(patches),
        frameon=False,
        fontsize=11,
    )
    return figure


def main() -> None:
    """Runs the tool."""
    args = parse_args()
    figure = compose([plt.imread(file) for file in args.files])
    figure.savefig(args.path, dpi=150, pil_kwargs=dict(quality=85))


if __name__ == '__main__':
    main()
