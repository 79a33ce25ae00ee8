"""Test-time augmentation from the command line, for both toolboxes.

MMEngine's `PrepareTTAHook` wraps the model once its weights are loaded, so that the checked loader
sees the model under its own names.
"""

from __future__ import annotations

import copy

from mmengine.config import Config

from vitadapter_dense.command_line.config import add_hook, iter_datasets
from vitadapter_dense.inference.instance_tta import InstanceTTAModel
from vitadapter_dense.inference.segmentation_tta import SegmentationTTAModel

FLIP_KEYS = ('flip', 'flip_direction')
# what takes the place of the toolboxes' own
MODELS = {'DetTTAModel': InstanceTTAModel, 'SegTTAModel': SegmentationTTAModel}
DETECTION_KEYS = ('img_id', 'img_path', 'ori_shape', 'img_shape', 'scale_factor', *FLIP_KEYS)


def apply_tta(cfg: Config) -> None:
    """Turns test-time augmentation on: the configuration's own, else a horizontal flip.

    MMDetection's `DetTTAModel` refuses masks, MMSegmentation's `SegTTAModel` is wrong for heads of
    one channel; ours take their places.

    Raises:
        ValueError: when the toolbox is not known and the configuration brings no `tta_model`.
    """
    scope = cfg.get('default_scope')
    if 'tta_model' not in cfg:
        cfg.tta_model = _default_model(scope)
    if cfg.tta_model.type in MODELS:
        cfg.tta_model.type = MODELS[cfg.tta_model.type].__name__
    for dataset in iter_datasets(cfg.test_dataloader.dataset):
        dataset.pipeline = cfg.get('tta_pipeline') or _flip_pipeline(dataset.pipeline)
    add_hook(cfg, dict(type='PrepareTTAHook', tta_cfg=cfg.tta_model))


def _default_model(scope: str | None) -> dict:
    if scope == 'mmdet':
        nms = dict(nms=dict(type='nms', iou_threshold=0.5), max_per_img=100)
        return dict(type=InstanceTTAModel.__name__, tta_cfg=nms)
    if scope == 'mmseg':
        return dict(type=SegmentationTTAModel.__name__)
    if scope == 'mmpretrain':
        return dict(type='AverageClsScoreTTA')
    raise ValueError(f'--tta needs `tta_model` in the configuration (default_scope {scope!r}).')


def _flip_pipeline(pipeline: list) -> list:
    """A test pipeline with each image as it is and flipped; annotations stay as they are."""
    *steps, pack = copy.deepcopy(list(pipeline))
    if 'meta_keys' in pack:
        pack['meta_keys'] = tuple(dict.fromkeys((*pack['meta_keys'], *FLIP_KEYS)))
    elif pack['type'].endswith('PackDetInputs'):
        pack['meta_keys'] = DETECTION_KEYS
    annotations = [step for step in steps if 'LoadAnnotations' in step['type']]
    image_steps = [step for step in steps if step not in annotations]
    flips = [dict(type='RandomFlip', prob=0.0), dict(type='RandomFlip', prob=1.0)]
    views = [flips, *([step] for step in annotations), [pack]]
    return [*image_steps, dict(type='TestTimeAug', transforms=views)]
