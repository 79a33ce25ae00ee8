"""The maps of a trained model's backbone, and of its encoder alone, as pictures."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from matplotlib.figure import Figure
from torch import Tensor
from torch.nn import functional as F

from vitadapter_dense.inference.predictor import Predictor
from vitadapter_dense.reports.feature_maps import maps_figure
from vitadapter_dense.reports.feature_spectrum import relative_log_amplitudes, spectrum_figure
from vitadapter_dense.reports.output_files import write_output
from vitadapter_dense.reports.progress import track

ENCODER_ALONE = 'encoder alone'


def draw_feature_maps(
    predictor: Predictor,
    images: Sequence[str],
    maps_out: Path,
    spectrum_out: Path,
    *,
    baseline: Predictor | None = None,
    command: str,
) -> None:
    """Writes a picture of the maps of the first image, and one of the spectrum of all.

    Args:
        predictor: of the trained model.
        images: files.
        maps_out: PNG of the maps.
        spectrum_out: PNG of the spectrum.
        baseline: of a model without adapter, whose maps stand beside; ``None`` for the encoder
            alone.
        command: who writes.

    Raises:
        ValueError: the backbone has no encoder that runs alone, or other strides than the baseline.
    """
    curves = []
    for image in track(images, 'images'):
        array = predictor.read(image)
        maps, strides = feature_maps(predictor, array)
        rows = {type(predictor.model.backbone).__name__: maps}
        if baseline is None:
            rows[ENCODER_ALONE] = encoder_maps(predictor, array, maps)
        else:
            maps, others = feature_maps(baseline, array)
            if others != strides:
                raise ValueError(f'the baseline has maps at strides {others}, the model {strides}')
            rows[f'{type(baseline.model.backbone).__name__} (baseline)'] = maps
        if not curves:
            _write(maps_figure(array[..., ::-1], rows, strides), maps_out, command)
        curves.append([[relative_log_amplitudes(each) for each in row] for row in rows.values()])
    means = dict(zip(rows, np.mean(curves, axis=0), strict=True))
    _write(spectrum_figure(means, strides, images=len(images)), spectrum_out, command)


@torch.no_grad()
def feature_maps(predictor: Predictor, image: np.ndarray) -> tuple[list[Tensor], list[int]]:
    """The backbone's maps ``(C, H, W)``, without the cells of padding alone, and their strides.

    Args:
        predictor: of the trained model.
        image: ``(H, W, 3)`` uint8, BGR.

    Raises:
        ValueError: the backbone gives no maps.
    """
    inputs, shape = _prepared(predictor, image)
    maps = predictor.model.backbone(inputs)
    if not isinstance(maps, (list, tuple)) or any(each.ndim != 4 for each in maps):
        raise ValueError(
            f'{type(predictor.model.backbone).__name__} gives no maps (B, C, H, W) to draw, but '
            f'what its head goes on with: name a model with another backbone'
        )
    strides = [round(inputs.shape[-1] / each.shape[-1]) for each in maps]
    return [_cropped(each, inputs, shape) for each in maps], strides


@torch.no_grad()
def encoder_maps(predictor: Predictor, image: np.ndarray, beside: Sequence[Tensor]) -> list[Tensor]:
    """The last map of the encoder, run without its adapter, in the sizes of other maps.

    Raises:
        ValueError: the backbone has no encoder that runs alone.
    """
    backbone = predictor.model.backbone
    encoder = getattr(backbone, 'encoder', None)
    if not hasattr(encoder, 'run_through'):
        raise ValueError(
            f'{type(backbone).__name__} has no encoder that runs alone: name a model without '
            f'adapter, --baseline CONFIG CHECKPOINT'
        )
    inputs, shape = _prepared(predictor, image)
    (tokens,) = encoder.run_through(inputs, [encoder.depth - 1])
    last = _cropped(tokens.as_map(), inputs, shape)[None]
    return [
        F.interpolate(last, each.shape[-2:], mode='bilinear', align_corners=False)[0]
        for each in beside
    ]


def _prepared(predictor: Predictor, image: np.ndarray) -> tuple[Tensor, tuple[int, int]]:
    """The model's input ``(1, 3, H, W)``, and the size of the image in it."""
    batch = predictor.model.data_preprocessor(predictor.prepare_array(image), False)
    return batch['inputs'], tuple(batch['data_samples'][0].img_shape[:2])


def _cropped(feature_map: Tensor, inputs: Tensor, shape: tuple[int, int]) -> Tensor:
    cells = (
        -(-n * part // whole)
        for n, part, whole in zip(feature_map.shape[-2:], shape, inputs.shape[-2:], strict=True)
    )
    rows, columns = cells
    return feature_map[0, :, :rows, :columns]


def _write(figure: Figure, out: Path, command: str) -> None:
    with write_output(out, command=command) as partial:
        figure.savefig(partial, dpi=100)
