"""How much of each frequency feature maps hold.

As in figure 5 (a) of ViT-Adapter (https://arxiv.org/abs/2205.08534), after Park & Kim, How Do
Vision Transformers Work? (https://arxiv.org/abs/2202.06709): the logarithm of the amplitudes of the
Fourier transform, the mean over channels and images, along the diagonal from frequency 0 to the
highest, relative to that of frequency 0.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from matplotlib.figure import Figure
from torch import Tensor

POINTS = 33  # of a curve, from frequency 0 to pi


def relative_log_amplitudes(feature_map: Tensor) -> np.ndarray:
    """The curve of one map ``(C, H, W)``: ``POINTS`` values, the first 0.

    Between the frequencies that the map has (``H / 2 + 1`` rows of them), values are interpolated.
    """
    amplitudes = torch.fft.fft2(feature_map.double().cpu()).abs()
    logs = torch.log(amplitudes + 1e-6).mean(dim=0).numpy()
    height, width = logs.shape
    steps = max(height, width) // 2
    along = np.linspace(0, 1, steps + 1)
    rows = np.round(along * (height // 2)).astype(int)
    columns = np.round(along * (width // 2)).astype(int)
    diagonal = (logs[rows, columns] + logs[rows, -columns]) / 2  # there are two
    return np.interp(np.linspace(0, 1, POINTS), along, diagonal - diagonal[0])


def spectrum_figure(
    curves: Mapping[str, Sequence[np.ndarray]], strides: Sequence[int], *, images: int
) -> Figure:
    """Draws a panel for each stride, with a line for each source of maps.

    Args:
        curves: the curves of the strides by the name of their source.
        strides: of the panels.
        images: how many the curves are the mean of.
    """
    figure = Figure(figsize=(2.6 * len(strides), 3), layout='constrained')
    panels = figure.subplots(1, len(strides), sharey=True, squeeze=False)[0]
    for index, (panel, stride) in enumerate(zip(panels, strides, strict=True)):
        for name, of_strides in curves.items():
            panel.plot(np.linspace(0, 1, POINTS), of_strides[index], label=name)
        panel.set_title(f'stride {stride}')
        panel.set_xlabel('frequency')
        panel.set_xticks([0, 0.5, 1], ['0', 'π/2', 'π'])
        panel.grid(alpha=0.3)
    panels[0].set_ylabel(f'Δ log amplitude ({images} image{"s" * (images > 1)})')
    panels[0].legend()
    return figure
