"""Compare the queries of a detector with the objects of its data, and the levels of its parts.

With fewer queries than objects the matching leaves some objects out, in silence. Levels that differ
end in an index error, or in an assertion without words, at the first step.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from vitadapter_dense.datasets.coco_summary import CocoSummary
from vitadapter_dense.datasets.dataset_configs import kind

#: where each kind of detector says how many objects it can find
_QUERIES = (('panoptic_head', 'num_queries'), ('', 'num_queries'), ('rpn_head', 'num_proposals'))
PYRAMIDS = ('ViTAdapter', 'LiteAdapter', 'PriorPyramid', 'SimplePyramid')  # each gives four maps
_NECKS = ('FPN', 'ChannelMapper', 'ChosenLevels', 'ExtraAttention')
_DEFORMABLE = ('DeformableDETR', 'DINO')
_DEFAULT_LEVELS = 4  # of MMDetection's detectors and of mmcv's attention


def find_few_queries(model_cfg: Mapping[str, Any], summary: CocoSummary) -> list[str]:
    """A detector with fewer queries than an image has objects: some would never be learnt."""
    found = []
    for part, key in _QUERIES:
        holder = (model_cfg.get(part) or {}) if part else model_cfg
        queries = holder.get(key)
        if queries is not None and queries < summary.most_objects:
            found.append(
                f'{".".join(filter(None, ("model", part, key)))} is {queries}, but '
                f'{summary.ann_file} has an image with {summary.most_objects} objects, of which '
                f'each needs a query of its own. Mend: {key}={summary.most_objects} or more.'
            )
    return found


def find_other_levels(model_cfg: Mapping[str, Any]) -> list[str]:
    """A neck for another number of maps than the backbone's, and attention over other levels."""
    found = []
    backbone = model_cfg.get('backbone') or {}
    necks = model_cfg.get('neck') or ()
    necks = [necks] if isinstance(necks, Mapping) else necks
    for neck in necks:
        taken = neck.get('in_channels')
        fits = not isinstance(taken, (list, tuple)) or len(taken) == 4
        if backbone.get('type') in PYRAMIDS and kind(neck) in _NECKS and not fits:
            found.append(
                f'the backbone ({backbone["type"]}) gives 4 maps, but in_channels={list(taken)} of '
                f'model.neck ({neck["type"]}) is of {len(taken)}. Mend: its width four times; '
                "type='ChosenLevels' with start_level leaves the finest maps out."
            )
    if found or model_cfg.get('type') not in _DEFORMABLE or not necks:
        return found
    levels = dict(_levels(model_cfg, necks[-1]))
    if len(set(levels.values())) > 1:
        said = ', '.join(f'{name} is {number}' for name, number in levels.items())
        found.append(
            f'a {model_cfg["type"]} attends to as many levels as its neck gives: {said}. '
            'Mend: the same number in each (4 is the default of what is not set).'
        )
    return found


def find_levels(model_cfg: Mapping[str, Any]) -> int:
    """How many levels the attention of a deformable DETR is over."""
    return model_cfg.get('num_feature_levels', _DEFAULT_LEVELS)


def _levels(model_cfg: Mapping[str, Any], neck: Mapping[str, Any]) -> Iterator[tuple[str, int]]:
    """Each place that says a number of levels, and the number."""
    inner = neck.get('neck') or neck
    if kind(neck) in _NECKS and 'in_channels' in neck:
        given = len(neck['in_channels']) - neck.get('start_level', 0)
        path = 'model.neck.neck.num_outs' if inner is not neck else 'model.neck.num_outs'
        yield path, inner.get('num_outs', given) + neck.get('num_pooled', 0)
    yield 'model.num_feature_levels', find_levels(model_cfg)
    for part, attention in (('encoder', 'self_attn_cfg'), ('decoder', 'cross_attn_cfg')):
        layer = (model_cfg.get(part) or {}).get('layer_cfg') or {}
        number = (layer.get(attention) or {}).get('num_levels', _DEFAULT_LEVELS)
        yield f'model.{part}.layer_cfg.{attention}.num_levels', number
