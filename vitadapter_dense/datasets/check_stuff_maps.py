"""Check the maps of things and stuff that a detector's semantic branch (HTC++) learns from.

MMDetection notices a missing map when it comes to it, and a label beyond the branch's classes ends
in torch's index error; on a GPU in an assertion that names nothing.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from .coco_summary import CocoSummary, some
from .dataset_configs import UsedDataset, folders, is_coco, kind
from .errors import DatasetError
from .load_seg_map import IGNORED, decode_labels, other_map_size
from .problems import Problems

_SAMPLED_MAPS = 16


def find_stuff_faults(
    model_cfg: Mapping[str, Any], used: UsedDataset, summary: CocoSummary
) -> list[str]:
    """What is wrong with the maps beside a file of instances, with the mend; some are read.

    Args:
        model_cfg: the model's config.
        used: the data set that is trained on; nothing is said of others.
        summary: of its file.
    """
    head = (model_cfg.get('roi_head') or {}).get('semantic_head')
    if not (used.trained and is_coco(used.cfg) and isinstance(head, Mapping)):
        return []
    steps = [s for s in used.cfg.get('pipeline') or () if kind(s).startswith('LoadAnnotations')]
    folder = folders(used.cfg).get('seg')
    if folder is None or not any(step.get('with_seg') for step in steps):
        return [
            f'model.roi_head.semantic_head learns from maps of things and stuff, and {used.name} '
            "loads none. Mend: data_prefix=dict(seg='FOLDER') and LoadAnnotations with "
            'with_seg=True, as _base_/datasets/coco_stuff_instance.py has; or no semantic_head.'
        ]
    suffix = used.cfg.get('seg_map_suffix', '.png')
    paths = [
        Path(folder, os.path.splitext(image['file_name'])[0] + suffix) for image in summary.images
    ]
    there = {path for parent in {p.parent for p in paths} for path in parent.glob(f'*{suffix}')}
    if missing := [str(path) for path in paths if path not in there]:
        return [
            f'{len(missing)} of {len(paths)} maps of things and stuff are missing: '
            f'{some(missing)}. Mend: unpack them there, correct data_prefix.seg, or make them from '
            'the instances: python tools/dataset/make_panoptic.py --labels'
        ]
    problems = Problems()
    step = max(1, -(-len(paths) // _SAMPLED_MAPS))
    for path, image in list(zip(paths, summary.images, strict=True))[::step]:
        what, text = _inspect_map(path, image, head)
        if what:
            problems.add(what, text)
    return problems.lines()


def _inspect_map(path: Path, image: Mapping[str, Any], head: Mapping[str, Any]) -> tuple[str, str]:
    """What is wrong with a map: a few words, and the message; empty if nothing is."""
    try:
        labels = decode_labels(path.read_bytes(), name=str(path))
    except (OSError, DatasetError) as error:
        return 'maps that cannot be used', str(error)
    size = (image['width'], image['height'])
    if labels.shape[::-1] != size:
        text = other_map_size(str(path), labels.shape[::-1], image['file_name'], size, None)
        return 'maps of another size than their image', text
    number = head.get('num_classes')
    ignored = (head.get('loss_seg') or {}).get('ignore_index', IGNORED)
    beyond = [value for value in np.unique(labels).tolist() if value != ignored]
    if number is None or not beyond or beyond[-1] < number:
        return '', ''
    return (
        'maps with labels that are no class',
        f'label map {path} has label {beyond[-1]}, but model.roi_head.semantic_head.num_classes is '
        f'{number}. Mend: num_classes={beyond[-1] + 1} or more, or {ignored} where a pixel is to '
        'be ignored.',
    )
