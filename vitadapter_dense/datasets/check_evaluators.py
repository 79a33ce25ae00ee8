"""Compare the evaluators of a configuration with the data sets that they are to evaluate.

MMDetection's metrics read an annotation file of their own, and never look whether the data set
reads the same one: images that are only in theirs count as missed, and nothing says so. A metric
that needs what no prediction has ends in an error after the first epoch.
"""

from __future__ import annotations

import dataclasses
import filecmp
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from .coco_summary import some
from .dataset_configs import (
    annotation_file,
    is_coco,
    is_panoptic,
    is_remote,
    is_segmentation,
    kind,
    leaves,
    list_metrics,
    listed,
)

_IGNORED = 255
#: of our configurations those in one stage
_OF_BOXES = ('ATSS', 'GFL', 'DINO', 'DeformableDETR')


@dataclasses.dataclass
class ConfigFindings:
    """What does not fit together in a configuration.

    Attributes:
        errors: what would break a run or falsify its numbers.
        warnings: what may be meant.
    """

    errors: list[str] = dataclasses.field(default_factory=list)
    warnings: list[str] = dataclasses.field(default_factory=list)


def find_evaluator_faults(cfg: Mapping[str, Any], loader: str, *, findings: ConfigFindings) -> None:
    """Add what the evaluator of a loader has otherwise than its data sets and the model."""
    whole, evaluator = cfg.get(f'{loader}_dataloader'), cfg.get(f'{loader}_evaluator')
    if not whole or not evaluator:
        return
    datasets = leaves(whole['dataset'])
    metrics = list_metrics(cfg, loader)
    each_its_own = isinstance(evaluator, Mapping) and kind(evaluator) == 'MultiDatasetsEvaluator'
    for number, metric in enumerate(metrics):
        name = f'{loader}_evaluator' + (f'.{number}' if len(metrics) > 1 else '')
        own = datasets[number : number + 1] if each_its_own else datasets
        if 'ann_file' in metric or kind(metric) == 'CocoMetric':
            _check_file(name, metric, own, findings=findings)
        if 'segm' in listed(metric.get('metric')) and _finds_boxes_alone(cfg.get('model') or {}):
            findings.errors.append(
                f"{name}.metric has 'segm', but the model has no mask head, and the evaluation "
                "would end in an error. Mend: metric='bbox', or a model with a mask head."
            )
        if kind(metric) == 'CocoMetric' and _finds_no_instances(cfg.get('model') or {}):
            findings.errors.append(
                f'{name} is CocoMetric, but the model gives no instances '
                '(model.test_cfg.instance_on). Mend: instance_on=True, or no CocoMetric.'
            )
        if kind(metric) == 'PanopticQuality':
            _check_panoptic(name, metric, cfg.get('model') or {}, findings=findings)
        if own and all(is_segmentation(leaf) for leaf in own):
            _check_ignored(name, metric, own, cfg.get('model') or {}, findings=findings)


def _check_file(
    name: str,
    metric: Mapping[str, Any],
    datasets: Sequence[Mapping[str, Any]],
    *,
    findings: ConfigFindings,
) -> None:
    """The metric's annotation file must be of the very images that the loader reads."""
    file = metric.get('ann_file')
    if not file:
        for leaf in datasets:
            packing = [s for s in leaf.get('pipeline') or () if kind(s) == 'PackDetInputs']
            packed = packing and 'instances' in packing[0].get('meta_keys', ())
            if kind(metric) == 'CocoMetric' and packing and not packed:
                findings.errors.append(
                    f'{name} has no ann_file and takes the ground truth from the samples, but '
                    "PackDetInputs does not pack it. Mend: name the data set's annotation file "
                    f"({annotation_file(leaf)}), or add 'instances' to its meta_keys."
                )
                return
        return
    if is_remote(metric) or any(is_remote(leaf) for leaf in datasets):
        return
    if not Path(file).is_file():
        findings.errors.append(
            f'{name}.ann_file {file} does not exist. Mend: name the annotation file of the data '
            f'set, {some(filter(None, map(annotation_file, datasets)))}.'
        )
        return
    files = [found for found in map(annotation_file, datasets) if found and Path(found).is_file()]
    if not files:
        return
    if not all(_same_file(file, found) for found in files):
        mine, theirs = _truth([file]), _truth(files)
        # instances are counted beside segments: of the things alone, in a file of their own
        beside = kind(metric) == 'CocoMetric' and all(map(is_panoptic, datasets))
        for what in ['images'] if beside else mine:
            if not mine['images'] or mine[what] != theirs[what]:
                findings.errors.append(
                    f'{name}.ann_file is {file}, but the data set reads {some(files)}, with other '
                    f'{what}: {len(mine[what] - theirs[what])} of {len(mine[what])} are in the '
                    f"evaluator's file alone, and {len(theirs[what] - mine[what])} of "
                    f"{len(theirs[what])} in the data set's. The result would be wrong. Mend: give "
                    'both the same file (several data sets need a MultiDatasetsEvaluator, or one '
                    'file of them all).'
                )
                return
    for leaf in datasets:
        # panoptic quality counts the images that it is given, whatever its file lists
        if leaf.get('indices') is not None and kind(metric) != 'PanopticQuality':
            findings.warnings.append(
                f'the data set of {name} has indices={leaf["indices"]!r}: the images that are not '
                f'among them count as missed, since {file} has them all'
            )
        filters = leaf.get('filter_cfg') or {}
        if is_coco(leaf) and not leaf.get('test_mode') and any(filters.values()):
            findings.warnings.append(
                f'the data set of {name} has no test_mode=True: its filter_cfg leaves images out, '
                'which the evaluator counts'
            )


def _check_panoptic(
    name: str, metric: Mapping[str, Any], model: Mapping[str, Any], *, findings: ConfigFindings
) -> None:
    """Panoptic quality needs maps of the ground truth, and a model that finds such segments."""
    folder = metric.get('seg_prefix')
    if not is_remote(metric) and not Path(str(folder)).is_dir():
        findings.errors.append(
            f'{name}.seg_prefix {folder} is no folder. Mend: name that of the panoptic PNGs, the '
            "data set's data_prefix.seg."
        )
    if not (model.get('test_cfg') or {}).get('panoptic_on', 'panoptic_fusion_head' in model):
        findings.errors.append(
            f'{name} is PanopticQuality, but the model finds no panoptic segments '
            '(model.test_cfg.panoptic_on). Mend: panoptic_on=True, or the evaluator CocoMetric.'
        )


def _same_file(one: str, other: str) -> bool:
    """The same file by whichever path, or a copy of it."""
    return os.path.samefile(one, other) or filecmp.cmp(one, other, shallow=False)


def _truth(files: Sequence[str]) -> dict[str, set[str]]:
    """What an evaluation reads of COCO files; empty for files that are of another kind."""
    found: dict[str, set[str]] = {'images': set(), 'categories': set(), 'annotations': set()}
    keys = ('image_id', 'category_id', 'bbox', 'iscrowd', 'area', 'segmentation')
    keys += ('file_name', 'segments_info')  # of a panoptic file
    for file in files:
        try:
            with open(file, encoding='utf-8') as stream:
                content = json.load(stream)
            for image in content['images']:
                found['images'].add(repr((image['id'], os.path.basename(image['file_name']))))
            for number, category in enumerate(content['categories']):
                found['categories'].add(repr((number, category['id'], category['name'])))
            for annotation in content.get('annotations', ()):
                found['annotations'].add(repr([annotation.get(key) for key in keys]))
        except (ValueError, KeyError, TypeError, AttributeError, OSError):
            continue
    return found


def _finds_boxes_alone(model: Mapping[str, Any]) -> bool:
    """A model of boxes in two stages, or of a type that finds nothing else; a config of another
    type does not show what it finds.
    """
    roi_head = model.get('roi_head')
    if isinstance(roi_head, Mapping):
        return not roi_head.get('mask_head')
    return kind(model) in _OF_BOXES


def _finds_no_instances(model: Mapping[str, Any]) -> bool:
    """A model of masks whose instances are switched off, or not on."""
    own = kind(model) in ('MaskFormer', 'Mask2Former')
    return own and not (model.get('test_cfg') or {}).get('instance_on', False)


def _check_ignored(
    name: str,
    metric: Mapping[str, Any],
    datasets: Sequence[Mapping[str, Any]],
    model: Mapping[str, Any],
    *,
    findings: ConfigFindings,
) -> None:
    """The label that is ignored must be the same for the maps, the heads and the metric."""
    values = {f'{name}.ignore_index': metric.get('ignore_index', _IGNORED)}
    for key in ('decode_head', 'auxiliary_head'):
        for number, head in enumerate(listed(model.get(key) or ())):
            value = head.get('ignore_index', _IGNORED)
            values[f'model.{key}.{number}.ignore_index'] = value
    for number, leaf in enumerate(datasets):
        values[f'data set {number}.ignore_index'] = leaf.get('ignore_index', _IGNORED)
    if len(set(values.values())) > 1:
        shown = ', '.join(f'{key}={value}' for key, value in values.items())
        findings.errors.append(
            f'the label that is ignored differs: {shown}. Training and evaluation would count '
            'other pixels. Mend: leave it at 255 everywhere, and write 255 into the maps.'
        )
    if 'reduce_zero_label' in metric:
        findings.errors.append(
            f'{name} has reduce_zero_label, which no metric reads. Mend: set it in the data sets.'
        )
