"""Draws what a task sees under each protocol of continual segmentation, by what does it.

python tools/pictures/continual_protocols.py continual_protocols.png
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

# A checkout that is not installed works too; an installed package goes first.
sys.path.append(str(Path(__file__).resolve().parents[2]))
sys.path.append(str(Path(__file__).resolve().parents[2] / 'ops'))

from new_file import new_file


def parse_args() -> argparse.Namespace:
    """Reads the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('out', type=new_file, help='PNG to write')
    return parser.parse_args()


if __name__ == '__main__':
    parse_args()  # what the command line shows to be wrong ends here, before the slow imports

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap

from vitadapter_dense.continual import ContinualSettings

CLASSES = ('background', 'circle', 'square', 'cross')
COLOURS = ListedColormap(['#c9ccd1', '#e63c3c', '#3c82f0', '#3cc85a'])
PROTOCOLS = ('overlap', 'disjoint', 'sequential')
SIDE = 24


def scenes() -> list[np.ndarray]:
    """Label maps of five images; each has a place for each class."""
    y, x = np.mgrid[:SIDE, :SIDE]
    masks = {
        1: (x - 6) ** 2 + (y - 7) ** 2 < 25,
        2: (abs(x - 17) < 5) & (abs(y - 8) < 5),
        3: (abs(x - 11) < 6) & (abs(y - 18) < 2) | (abs(x - 11) < 2) & (abs(y - 18) < 6),
    }
    maps = []
    for present in ((1,), (1, 2), (2,), (2, 3), (1, 3)):
        image = np.zeros((SIDE, SIDE), np.uint8)
        for label in present:
            image[masks[label]] = label
        maps.append(image)
    return maps


def strip(axes: Axes, maps: list[np.ndarray | None]) -> None:
    """Maps side by side; a cross where an image is not of the task."""
    for number, image in enumerate(maps):
        left = number * (SIDE + 3)
        extent = (left, left + SIDE, SIDE, 0)
        if image is None:
            axes.plot([left + 7, left + 17], [7, 17], [left + 7, left + 17], [17, 7], color='0.7')
        else:
            axes.imshow(image, cmap=COLOURS, vmin=0, vmax=3, extent=extent)
    axes.set(xlim=(0, len(maps) * (SIDE + 3)), ylim=(SIDE, 0))
    axes.axis('off')


def draw(path: Path) -> None:
    """A row a protocol, a column a task."""
    tasks = [[name] for name in CLASSES[1:]]
    figure, axes = plt.subplots(
        1 + len(PROTOCOLS), len(tasks), figsize=(11, 3.4), layout='constrained'
    )
    for column, (name,) in enumerate(tasks):
        axes[0, column].set_title(f'task {column}: {name}', fontsize=10)
        strip(axes[0, column], scenes())
    for row, protocol in enumerate(PROTOCOLS, start=1):
        settings = ContinualSettings(tasks, background='background', protocol=protocol)
        schedule = settings.schedule(CLASSES)
        for task in range(len(tasks)):
            labels = settings.training_labels(schedule, task)
            shown = [labels(dict(gt_seg_map=image)) for image in scenes()]
            strip(axes[row, task], [one and one['gt_seg_map'] for one in shown])
    for row, name in zip(axes, ('the images', *PROTOCOLS), strict=True):
        row[0].text(-6, SIDE / 2, name, ha='right', va='center', fontsize=10)
    figure.savefig(path, dpi=80)


def main() -> None:
    """Draws the picture."""
    draw(parse_args().out)


if __name__ == '__main__':
    main()
