"""Pictures of feature maps: principal components as colours, spectra over frequency."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from vitadapter_dense.reports.feature_maps import maps_figure, principal_colours
from vitadapter_dense.reports.feature_spectrum import (
    POINTS,
    relative_log_amplitudes,
    spectrum_figure,
)


def test_colours_are_the_components_in_their_order():
    """Three patterns, mixed into 16 channels: the strongest is red, whatever the mixture."""
    torch.manual_seed(0)
    y, x = torch.meshgrid(torch.linspace(-1, 1, 24), torch.linspace(-1, 1, 32), indexing='ij')
    patterns = torch.stack([9 * y, 3 * x, torch.sign(x * y)])
    mixture, _ = torch.linalg.qr(torch.randn(16, 16))
    colours = principal_colours(torch.einsum('ck,khw->chw', mixture[:, :3], patterns))
    assert colours.shape == (24, 32, 3)
    for index, pattern in enumerate(patterns):
        correlation = np.corrcoef(colours[..., index].ravel(), pattern.numpy().ravel())[0, 1]
        assert abs(correlation) > 0.98
    assert (colours.min(), colours.max()) == (0, 255)


@pytest.mark.parametrize('shape', [(8, 5, 7), (2, 4, 4), (1, 1, 1)])
def test_maps_that_have_few_components_have_colours_too(shape):
    assert principal_colours(torch.full(shape, 3.0)).shape == (*shape[1:], 3)
    assert principal_colours(torch.randn(shape)).shape == (*shape[1:], 3)


@pytest.mark.parametrize('hw', [(32, 32), (32, 48), (48, 32)])
@pytest.mark.parametrize('share', [0.25, 0.5])
def test_a_wave_is_found_at_its_frequency(hw, share):
    y, x = torch.meshgrid(*map(torch.arange, hw), indexing='ij')
    wave = torch.cos(torch.pi * share * (y + x))
    curve = relative_log_amplitudes(torch.stack([wave, wave]) + 0.01 * torch.randn(2, *hw) + 1)
    assert curve[0] == 0
    beside_zero = 3  # where the curve falls from frequency 0
    assert curve[beside_zero:].argmax() + beside_zero == round(share * (POINTS - 1))


def test_a_point_has_all_frequencies_and_a_blur_few():
    point = torch.zeros(4, 33, 20)
    point[:, 7, 11] = 2.0
    assert np.allclose(relative_log_amplitudes(point), 0, atol=1e-5)
    blurred = torch.nn.functional.avg_pool2d(point[None], 5, stride=1, padding=2)[0]
    assert relative_log_amplitudes(blurred)[-1] < -1
    assert np.allclose(relative_log_amplitudes(torch.ones(2, 1, 1)), 0)


def test_figures_have_a_panel_for_each_map():
    maps = {'a': [torch.randn(4, 8, 6), torch.randn(4, 4, 3)], 'b': [torch.randn(9, 8, 6)] * 2}
    figure = maps_figure(np.zeros((64, 48, 3), np.uint8), maps, [8, 16])
    titles = [panel.get_title() for panel in figure.axes]
    assert titles == ['image', 'a, stride 8', 'a, stride 16', '', 'b, stride 8', 'b, stride 16']
    curves = {name: [relative_log_amplitudes(each) for each in row] for name, row in maps.items()}
    figure = spectrum_figure(curves, [8, 16], images=1)
    assert [len(panel.lines) for panel in figure.axes] == [2, 2]
