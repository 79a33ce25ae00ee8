"""What a written file computes, beside the model it was made of, on real images."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vitadapter_dense.export.graphs import Graph
from vitadapter_dense.export.programs import ExportError, Run
from vitadapter_dense.export.sizes import Sizes
from vitadapter_dense.inference.exported import (
    normalised,
    objects_of_masks,
    paste_mask,
    resized,
)
from vitadapter_dense.inference.predictor import Image, Predictor

_EQUAL_PIXELS = 0.999
_SCORE = 0.3  # objects with at least this one are compared; of an image without any, the best ten
_PIXELS = 0.5
_MASKS = 0.99
_LEVELS = 1.01  # of 255: what resizing without OpenCV may differ by


@dataclass(frozen=True)
class Check:
    """One output on one image.

    Args:
        name: of the output.
        size: (height, width) of the input.
        value: what was found.
        limit: the worst that is let pass.
        at_least: whether `limit` is the smallest value, not the largest.
        unit: what it counts.
    """

    name: str
    size: tuple[int, int]
    value: float
    limit: float
    at_least: bool = False
    unit: str = ''

    @property
    def passed(self) -> bool:
        """Whether the file may be used; a value that is not a number may not."""
        return self.value >= self.limit if self.at_least else self.value <= self.limit

    def __str__(self) -> str:
        size = 'x'.join(map(str, self.size))
        word = 'at least' if self.at_least else 'at most'
        return f'{self.name:<28} {size:>10}  {self.value:.3g} {self.unit} ({word} {self.limit:.3g})'


def inputs_of(
    predictor: Predictor, images: Sequence[Image], sizes: Sizes, window: Sequence[int] | None
) -> Iterator[tuple[Tensor, tuple[int, int]]]:
    """Images as the file takes them, `(1, 3, H, W)`, with the size that is not padding.

    A fixed size is cut out of each image; of sizes that are not, each image comes in two.
    """
    for image in images:
        prepared = predictor.prepare_array(predictor.read(image))
        whole = predictor.model.data_preprocessor(prepared, False)['inputs'].cpu()
        height, width = prepared['data_samples'][0].metainfo['img_shape'][:2]
        whole = whole[..., :height, :width]
        if window is not None:
            whole = whole[..., : window[0], : window[1]]
        if sizes.fixed is not None:
            yield _padded(whole[..., : sizes.fixed[0], : sizes.fixed[1]], sizes.fixed)
            continue
        for rows, columns in ((1.0, 1.0), (0.7, 0.9)):
            part = whole[..., : int(whole.shape[2] * rows), : int(whole.shape[3] * columns)]
            yield _padded(part, [sizes.padded(side) for side in part.shape[2:]])


def check_preparation(about: Mapping[str, Any], predictor: Predictor, image: Image) -> Check:
    """An image prepared as a description says, beside what the model's own pipeline makes of it.

    A fixed size has images fitted into it, otherwise than the pipeline; here it is left open.

    Raises:
        ExportError: they are of different sizes.
    """
    pixels = predictor.read(image)
    prepared = predictor.prepare_array(pixels)
    height, width = prepared['data_samples'][0].metainfo['img_shape'][:2]
    whole = predictor.model.data_preprocessor(prepared, False)['inputs'].cpu().numpy()
    expected = whole[..., :height, :width]
    about = dict(about, input=dict(about['input'], size=None))
    found = normalised(resized(pixels[..., ::-1], about), about)
    _check_shape('prepared image', found, expected)
    levels = np.abs(found - expected) * np.reshape(about['std'], (1, 3, 1, 1))
    unit = 'of 255 levels'
    return Check('prepared image', (height, width), float(levels.max()), _LEVELS, unit=unit)


def turned(images: Tensor, count: int) -> Tensor:
    """`(1, 3, H, W)` -> `count` images, up to 3: as it is, mirrored, upside down."""
    return torch.cat([images, images.flip(-1), images.flip(-2)])[:count]


def _padded(images: Tensor, size: Sequence[int]) -> tuple[Tensor, tuple[int, int]]:
    height, width = images.shape[2:]
    padded = F.pad(images, (0, size[1] - width, 0, size[0] - height))
    return padded.contiguous(), (height, width)


@torch.no_grad()
def check_segmentor(
    run: Run, model: nn.Module, images: Tensor, tolerance: float
) -> Iterator[Check]:
    """Logits and label map of a segmentor.

    Args:
        run: of the file.
        model: the segmentor.
        images: `(B, 3, H, W)`.
        tolerance: largest deviation, of the largest logit.
    """
    size = (images.shape[2], images.shape[3])
    expected = model.encode_decode(images, [dict(img_shape=size, ori_shape=size)]).numpy()
    (found,) = run({'images': images.numpy()})
    _check_shape('logits', found, expected)
    largest = float(np.abs(expected).max()) or 1.0
    deviation = float(np.abs(found - expected).max()) / largest
    yield Check('logits', size, deviation, tolerance, unit='of the largest')
    if expected.shape[1] > 1:
        equal = float((found.argmax(1) == expected.argmax(1)).mean())
        yield Check('label map', size, equal, _EQUAL_PIXELS, at_least=True, unit='of pixels equal')


@torch.no_grad()
def check_detector(
    run: Run,
    model: nn.Module,
    graph: Graph,
    images: Tensor,
    size: tuple[int, int],
    tolerance: float,
) -> Iterator[Check]:
    """Objects of a detector, each beside the nearest of its class, either way.

    Args:
        run: of the file.
        model: the detector.
        graph: what the file was made of.
        images: `(1, 3, H, W)`.
        size: what of it is no padding.
        tolerance: largest deviation of a score.
    """
    from mmdet.structures import DetDataSample

    whole = (images.shape[2], images.shape[3])
    shapes = dict(img_shape=size, ori_shape=size, batch_input_shape=whole, pad_shape=whole)
    sample = DetDataSample(metainfo=dict(shapes, scale_factor=(1.0, 1.0)))
    (predicted,) = model.predict(images, [sample], rescale=True)
    expected = _sorted({key: value.numpy() for key, value in predicted.pred_instances.items()})
    inputs = {'images': images.numpy(), 'image_size': np.asarray(size, np.float32)}
    outputs = run({name: inputs[name] for name in graph.input_names})
    found = _objects(dict(zip(graph.output_names, outputs, strict=True)), model, size)
    pairs = list(_pairs(expected, found))
    boxes = [_distance(expected['bboxes'][i], found['boxes'][j]) for i, j in pairs]
    scores = [abs(float(expected['scores'][i] - found['scores'][j])) for i, j in pairs]
    unit = f'of {len(pairs)} pairs'
    yield Check('boxes', whole, max(boxes, default=0.0), _PIXELS, unit=f'pixels, {unit}')
    yield Check('scores', whole, max(scores, default=0.0), tolerance, unit=unit)
    if 'masks' in found and pairs:
        common, either = 0, 0
        for i, j in pairs:
            common += int((found['masks'][j] & expected['masks'][i]).sum())
            either += int((found['masks'][j] | expected['masks'][i]).sum())
        share = common / either if either else 1.0  # neither has any
        yield Check('masks', whole, share, _MASKS, at_least=True, unit='in common')


def _objects(
    outputs: dict[str, np.ndarray], model: nn.Module, size: tuple[int, int]
) -> dict[str, np.ndarray]:
    """Boxes, scores, labels and whole masks of a file's outputs, as the predictor makes them."""
    kept = outputs['scores'] > 0
    found = {name: values[kept] for name, values in outputs.items()}
    if 'mask_logits' in found:
        logits = found.pop('mask_logits')[:, : size[0], : size[1]]
        names = ('boxes', 'scores', 'masks')
        objects = objects_of_masks(found['scores'], logits, size)
        found |= dict(zip(names, objects, strict=True))
    elif 'masks' in found:
        masks = np.zeros((len(found['boxes']), *size), bool)
        threshold = model.test_cfg.rcnn.mask_thr_binary
        for mask, small, box in zip(masks, found['masks'], found['boxes'], strict=True):
            paste_mask(mask, small, box, threshold=threshold)
        found['masks'] = masks
    return _sorted(found)


def _sorted(objects: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """By falling score."""
    order = np.argsort(-objects['scores'], kind='stable')
    return {name: values[order] for name, values in objects.items()}


def _pairs(
    expected: dict[str, np.ndarray], found: dict[str, np.ndarray]
) -> Iterator[tuple[int, int]]:
    """Numbers of objects that should be the same ones, of which one at least is to be compared.

    Raises:
        ExportError: one has no like on the other side.
    """
    sides = ((expected, 'bboxes', found, 'boxes'), (found, 'boxes', expected, 'bboxes'))
    for turned_round, (one, boxes, other, boxes_of_other) in enumerate(sides):
        above = int((one['scores'] >= _SCORE).sum())
        for i in range(above or min(10, len(one['scores']))):
            same = np.flatnonzero(other['labels'] == one['labels'][i])
            if not len(same):
                who = ('the model', 'the file')[turned_round]
                raise ExportError(
                    f'labels: {who} alone finds class {one["labels"][i]} with score '
                    f'{one["scores"][i]:.3f}'
                )
            far = np.array([_distance(one[boxes][i], other[boxes_of_other][j]) for j in same])
            near = same[far <= far.min() + _PIXELS]  # masks often share a box; then the score tells
            j = int(near[np.abs(other['scores'][near] - one['scores'][i]).argmin()])
            yield (j, i) if turned_round else (i, j)


def _distance(one: np.ndarray, other: np.ndarray) -> float:
    return float(np.abs(one - other).max())


def _check_shape(name: str, found: np.ndarray, expected: np.ndarray) -> None:
    if found.shape != expected.shape:
        raise ExportError(f'{name}: the file gives {found.shape}, and the model {expected.shape}')
