"""Feature maps as colours: the first three principal components of their channels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from matplotlib.figure import Figure
from torch import Tensor


def principal_colours(feature_map: Tensor) -> np.ndarray:
    """``(C, H, W)`` -> ``(H, W, 3)`` uint8: red is the first component, green the second.

    Each component is stretched from its 1st to its 99th percentile. Its sign is open; here the
    channel that weighs most counts as positive.
    """
    cells = feature_map.double().cpu().flatten(1).T
    cells = cells - cells.mean(dim=0)
    _, axes = torch.linalg.eigh(cells.T @ cells)  # rising
    axes = axes.flip(1)[:, :3]
    axes = axes * axes.gather(0, axes.abs().argmax(dim=0, keepdim=True)).sign()
    values = (cells @ axes).numpy()
    low, high = np.percentile(values, (1, 99), axis=0)
    scaled = (values - low) / np.maximum(high - low, 1e-12)
    colours = np.zeros((len(values), 3))
    colours[:, : scaled.shape[1]] = scaled.clip(0, 1)
    return (255 * colours).round().astype(np.uint8).reshape(*feature_map.shape[1:], 3)


def maps_figure(
    image: np.ndarray, maps: Mapping[str, Sequence[Tensor]], strides: Sequence[int]
) -> Figure:
    """Draws an image, and in a row for each source its maps.

    Args:
        image: ``(H, W, 3)`` RGB.
        maps: maps ``(C, H', W')`` of the strides by the name of their source.
        strides: of the maps.
    """
    side = 2.2 * min(1.0, image.shape[1] / image.shape[0])
    columns = 1 + len(strides)
    height = side * image.shape[0] / image.shape[1] + 0.3
    figure = Figure(figsize=(side * columns, height * len(maps)), layout='constrained')
    grid = figure.subplots(len(maps), columns, squeeze=False)
    grid[0, 0].imshow(image)
    grid[0, 0].set_title('image')
    for row, (name, of_strides) in zip(grid, maps.items(), strict=True):
        for panel, feature_map, stride in zip(row[1:], of_strides, strides, strict=True):
            panel.imshow(principal_colours(feature_map), interpolation='nearest')
            panel.set_title(f'{name}, stride {stride}', fontsize=9)
    for panel in grid.flat:
        panel.set_axis_off()
    return figure
