"""Draws ViT-Adapter as a whole: the ViT above, the adapter below, the four maps on the right.

    python tools/pictures/architecture.py architecture.png

After figure 4 of the paper (https://arxiv.org/abs/2205.08534), and as
`vitadapter_dense/backbones/vit_adapter.py` computes it.
"""

from __future__ import annotations

import argparse

import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.patches import Circle, FancyBboxPatch, Rectangle
from new_file import new_file

VIT, ADAPTER, MAPS, INK = '#bcd7f2', '#fbd9a5', '#cfe8c4', '#333333'
TOKENS, PYRAMID, BETWEEN, BYPASS = 3.13, 1.35, 2.25, 0.6  # heights of the lanes, in inches
WIDTH, HEIGHT = 8.0, 3.9


def box(
    axes: Axes, x: float, y: float, text: str, color: str, *, size: tuple[float, float]
) -> None:
    """A box with its centre at `(x, y)`."""
    width, height = size
    shape = FancyBboxPatch(
        (x - width / 2, y - height / 2),
        width,
        height,
        boxstyle='round,pad=0,rounding_size=0.07',
        facecolor=color,
        edgecolor=INK,
        linewidth=0.9,
        zorder=3,
    )
    axes.add_patch(shape)
    label(axes, x, y, text)


def label(axes: Axes, x: float, y: float, text: str, *, size: float = 9) -> None:
    """Text around `(x, y)`."""
    style = dict(ha='center', va='center', color=INK, linespacing=1.25, zorder=4)
    axes.text(x, y, text, fontsize=size, **style)


def line(axes: Axes, *points: tuple[float, float]) -> None:
    """A line through points."""
    axes.plot(*zip(*points, strict=True), color=INK, linewidth=1.1, zorder=2)


def arrow(axes: Axes, *points: tuple[float, float]) -> None:
    """A line through points, with a head at its end."""
    line(axes, *points[:-1])
    style = dict(arrowstyle='-|>', color=INK, linewidth=1.1, shrinkA=0, shrinkB=0)
    axes.annotate('', points[-1], points[-2], arrowprops=style, zorder=2)


def interaction(axes: Axes, left: float, *, number: int, blocks: str, extractor: str) -> None:
    """Injector, span of blocks, extractor; the lanes run through."""
    frame = dict(facecolor='#f4f4f4', edgecolor='#999999', linestyle=':')
    axes.add_patch(Rectangle((left, 1.02), 2.05, 2.58, zorder=1, **frame))
    label(axes, left + 1.02, 3.72, f'interaction {number}')
    up, down = left + 0.42, left + 1.57
    arrow(axes, (up, PYRAMID), (up, BETWEEN - 0.2))
    arrow(axes, (up, BETWEEN + 0.2), (up, TOKENS))
    arrow(axes, (down, TOKENS), (down, BETWEEN + 0.2))
    arrow(axes, (down, BETWEEN - 0.2), (down, PYRAMID))
    box(axes, up, BETWEEN, 'injector', ADAPTER, size=(0.72, 0.4))
    box(axes, down, BETWEEN, extractor, ADAPTER, size=(0.88, 0.4))
    box(axes, left + 1.0, TOKENS, f'ViT\nblocks\n{blocks}', VIT, size=(0.76, 0.66))


def outputs(axes: Axes, left: float, joint: float) -> None:
    """The four maps, finest first."""
    heights = (3.05, 2.22, 1.5, 0.92)
    line(axes, (left, heights[0]), (left, heights[-1]))
    line(axes, (joint, PYRAMID), (left, PYRAMID))
    for stride, height, side in zip((4, 8, 16, 32), heights, (0.6, 0.46, 0.34, 0.24), strict=True):
        arrow(axes, (left, height), (left + 0.5 - side / 2, height))
        corner = (left + 0.5 - side / 2, height - side / 2)
        axes.add_patch(Rectangle(corner, side, side, facecolor=MAPS, edgecolor=INK, zorder=3))
        label(axes, left + 0.5, height - side / 2 - 0.12, f'stride {stride}')


def draw() -> plt.Figure:
    """The figure."""
    figure = plt.figure(figsize=(WIDTH, HEIGHT), facecolor='white')
    axes = figure.add_axes((0, 0, 1, 1), xlim=(0, WIDTH), ylim=(0, HEIGHT))
    axes.set_axis_off()
    first, last, joint = 1.9, 4.35, 6.72
    interaction(axes, first, number=1, blocks='1 to 3', extractor='extractor')
    interaction(axes, last, number=4, blocks='10 to 12', extractor='3 extractors')
    label(axes, (first + 2.05 + last) / 2, BETWEEN, '...', size=18)

    arrow(axes, (0.4, BETWEEN), (0.4, TOKENS), (0.75, TOKENS))
    arrow(axes, (0.4, BETWEEN), (0.4, PYRAMID), (0.75, PYRAMID))
    arrow(axes, (1.25, TOKENS), (joint, TOKENS), (joint, PYRAMID + 0.13))
    arrow(axes, (1.25, PYRAMID), (joint - 0.13, PYRAMID))
    arrow(axes, (1.25, PYRAMID), (1.25, BYPASS), (joint, BYPASS), (joint, PYRAMID - 0.13))
    box(axes, 0.4, BETWEEN, 'image', 'white', size=(0.62, 0.5))
    box(axes, 1.25, TOKENS, 'patch\nembedding', VIT, size=(1.0, 0.66))
    box(axes, 1.25, PYRAMID, 'spatial\nprior\nmodule', ADAPTER, size=(1.0, 0.8))
    axes.add_patch(Circle((joint, PYRAMID), 0.13, facecolor='white', edgecolor=INK, zorder=3))
    label(axes, joint, PYRAMID, '+', size=11)
    label(axes, first + 1.0, PYRAMID - 0.15, 'strides 8, 16, 32')
    label(axes, last + 1.0, PYRAMID - 0.15, 'strides 8, 16, 32')
    label(axes, (first + 2.05 + last) / 2, BYPASS + 0.15, 'stride 4')
    outputs(axes, 7.0, joint)

    for x, color, text in ((1.9, VIT, 'pre-trained ViT, as it is'), (4.35, ADAPTER, 'adapter')):
        axes.add_patch(Rectangle((x, 0.1), 0.2, 0.15, facecolor=color, edgecolor=INK))
        axes.text(x + 0.3, 0.175, text, va='center', fontsize=9, color=INK)
    return figure


def main() -> None:
    """Runs the tool."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('path', type=new_file, help='PNG to write')
    draw().savefig(parser.parse_args().path, dpi=150)


if __name__ == '__main__':
    main()
