"""Slips in a configuration are told before anything is built; what is right is left alone."""

from __future__ import annotations

from pathlib import Path

import pytest
from mmengine.config import Config

from vitadapter_cli import load_config
from vitadapter_dense.command_line.check_names import check_names

pytest.importorskip('mmdet')
SHAPES = 'configs/shapes/mask_rcnn_vitadapter_xs.py'


@pytest.mark.parametrize(
    ('option', 'message'),
    [
        ({'train_cfg.max_iter': 3}, 'train_cfg.max_iter is no argument of .*mean max_iters'),
        ({'model.bakbone.with_cp': True}, 'model.bakbone is no .* MaskRCNN; did you mean backbone'),
        ({'model.backbone.type': 'ViTAdaptr'}, "type='ViTAdaptr' is not .*mean ViTAdapter"),
        ({'model.backbone.conv_inplanes': 3}, 'conv_inplanes is no argument of ViTAdapter'),
        ({'optim_wrapper.optimizer.wieght_decay': 0}, 'wieght_decay is no .*mean weight_decay'),
        ({'model.roi_head.bbox_head.loss_cls.type': 'CrosEntropyLoss'}, 'mean CrossEntropyLoss'),
        ({'model.backbone.tuning': dict(_delete_=True)}, 'tuning has `_delete_`.*leave it out'),
    ],
)
def test_near_misses_are_named_with_what_is_near(option, message):
    cfg = load_config(SHAPES)
    cfg.merge_from_dict(option)
    with pytest.raises(ValueError, match=message):
        check_names(cfg)


def test_options_are_arguments_that_their_class_takes():
    real = {'model.backbone.with_cp': True, 'model.backbone.tuning.type': 'LoRA'}
    real['model.backbone.encoder.reg_tokens'] = 2  # timm's
    cfg = load_config(SHAPES, options=real)
    check_names(cfg, real)
    cfg.merge_from_dict({'model.backbone.colour.r': 1})
    check_names(cfg)
    with pytest.raises(ValueError, match='colour is no argument of ViTAdapter, .*conv_inplane'):
        check_names(cfg, ['model.backbone.colour.r'])


def test_what_is_far_from_everything_is_left_to_who_builds_it():
    cfg = Config(dict(model=dict(type='MyOwnDetector', flavour=3), train_cfg=dict(by_epoch=True)))
    check_names(cfg)


def test_own_configurations_and_those_of_the_toolboxes_pass():
    import mmdet

    theirs = Path(mmdet.__file__).parent / '.mim' / 'configs'
    names = ('detr/detr_r50_8xb2-150e_coco.py', 'fpg/mask-rcnn_r50_fpg_crop640-50e_coco.py')
    own = sorted(Path(__file__).parents[2].glob('configs/*/*.py'))
    for path in [*own[::6], *(theirs / name for name in names)]:
        check_names(Config.fromfile(path))
