"""Whether there is as much as a detector with queries chooses from: cells of maps, and results.

torch's `topk` ends with "selected index k out of range" where there is less: in the first step, or
in the first evaluation, hours later.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from math import ceil
from typing import Any

from vitadapter_dense.datasets.check_queries import PYRAMIDS, find_levels
from vitadapter_dense.datasets.coco_summary import CocoSummary
from vitadapter_dense.datasets.dataset_configs import kind

_TWO_STAGES = ('DINO', 'DeformableDETR')  # queries begin at the cells that promise most
_FINEST = 4  # pixels under a cell of a backbone's first map
_CUTS = ('RandomCrop', 'CachedMosaic', 'Mosaic', 'RandomAffine', 'MinIoURandomCrop', 'Expand')


def find_few_cells(
    model_cfg: Mapping[str, Any], pipeline: Any, summary: CocoSummary, *, name: str
) -> list[str]:
    """Images that become smaller than as many cells as a two-stage DETR has queries.

    Args:
        model_cfg: the model's config.
        pipeline: of the data set. Where something is cut out of images after they are resized,
            nothing is said.
        summary: of its file.
        name: of the data set.
    """
    queries, strides = model_cfg.get('num_queries', 0), _strides(model_cfg)
    shapes = {(image['width'], image['height']) for image in summary.images}
    shown = {_resized(shape, *how) for shape in shapes for how in _last_sizes(pipeline)}
    if not shown or not strides:
        return []
    width, height = min(shown, key=lambda shape: _cells(shape, strides))
    cells = _cells((width, height), strides)
    if cells >= queries:
        return []
    return [
        f'model.num_queries is {queries}, but an image of {name} becomes {width} x {height}, which '
        f'is {cells} cells at the strides {", ".join(map(str, strides))}: each query begins at one '
        f'of its own. Mend: num_queries={cells} or fewer (and max_per_img), or larger images: the '
        'scale in its pipeline.'
    ]


def find_few_results(model_cfg: Mapping[str, Any]) -> list[str]:
    """More results asked for than queries times classes."""
    found = []
    for queries, (where, wanted), classes in _asked(model_cfg):
        if None not in (queries, wanted, classes) and wanted > queries * classes:
            found.append(
                f'{where} is {wanted}, but {queries} queries and {classes} '
                f'class{"es" if classes > 1 else ""} give {queries * classes} results at most. '
                f'Mend: {where.rpartition(".")[2]}={queries * classes} or fewer.'
            )
    return found


def _asked(model_cfg: Mapping[str, Any]) -> Iterator[tuple[Any, tuple[str, Any], Any]]:
    """Queries, the number of results with its name, classes; None for what is not said."""
    test, model = model_cfg.get('test_cfg') or {}, kind(model_cfg)
    if model in _TWO_STAGES:
        classes = (model_cfg.get('bbox_head') or {}).get('num_classes')
        yield (
            model_cfg.get('num_queries'),
            ('model.test_cfg.max_per_img', test.get('max_per_img')),
            classes,
        )
    elif model == 'SparseRCNN':
        heads = (model_cfg.get('roi_head') or {}).get('bbox_head') or {}
        last = heads[-1] if isinstance(heads, (list, tuple)) else heads
        wanted = (test.get('rcnn') or {}).get('max_per_img')
        proposals = (model_cfg.get('rpn_head') or {}).get('num_proposals')
        yield proposals, ('model.test_cfg.rcnn.max_per_img', wanted), last.get('num_classes')
    elif model == 'Mask2Former' and test.get('instance_on', True):
        head = model_cfg.get('panoptic_head') or {}
        wanted = test.get('max_per_image', 100)  # the default of MMDetection
        things = head.get('num_things_classes')
        yield head.get('num_queries'), ('model.test_cfg.max_per_image', wanted), things


def _strides(model_cfg: Mapping[str, Any]) -> list[int]:
    """Of the levels whose cells are chosen from; none where it cannot be told."""
    if kind(model_cfg) not in _TWO_STAGES or not model_cfg.get('as_two_stage', True):
        return []
    if kind(model_cfg.get('backbone') or {}) not in PYRAMIDS:
        return []
    neck = model_cfg.get('neck') or {}
    start = neck.get('start_level', 0) if isinstance(neck, Mapping) else 0
    return [_FINEST << (start + level) for level in range(find_levels(model_cfg))]


def _last_sizes(steps: Any) -> list[tuple[tuple[float, float], bool]]:
    """The scales of the last step that resizes, and whether it keeps the ratio of the sides."""
    for step in reversed(steps or ()):
        name = kind(step)
        if name in _CUTS:
            return []
        if name == 'RandomChoice':
            found = [_last_sizes(branch) for branch in step['transforms']]
            return [size for sizes in found for size in sizes] if all(found) else []
        scales = step.get('scales') or [step.get('scale')]
        if name in ('Resize', 'RandomChoiceResize', 'RandomResize'):
            least = min(step.get('ratio_range', (1.0,)))
            usable = [scale for scale in scales if isinstance(scale, (tuple, list))]
            keeps = step.get('keep_ratio', name == 'RandomResize')
            return [((least * a, least * b), keeps) for a, b in usable]
    return []


def _resized(
    shape: tuple[int, int], scale: tuple[float, float], keeps_ratio: bool
) -> tuple[int, int]:
    if not keeps_ratio:
        return int(scale[0]), int(scale[1])
    factor = min(max(scale) / max(shape), min(scale) / min(shape))
    return int(shape[0] * factor + 0.5), int(shape[1] * factor + 0.5)


def _cells(shape: tuple[int, int], strides: Sequence[int]) -> int:
    return sum(ceil(shape[0] / stride) * ceil(shape[1] / stride) for stride in strides)
