"""Every setting has a row that says what a resume does with it; the docs show the rows."""

from __future__ import annotations

import copy
from functools import cache
from pathlib import Path

import pytest
from mmengine.config import Config

from vitadapter_dense.command_line.config import override_data_root
from vitadapter_dense.training.config_text import flat, read_config_text
from vitadapter_dense.training.resume_settings import changes, row_of, table

ROOT = Path(__file__).resolve().parents[2]
DETECTION = 'coco/mask_rcnn_vitadapter_s.py'
SEGMENTATION = 'ade20k/mask2former_vitadapter_l_beit.py'
TUNED = 'ade20k/upernet_r50_pro_tuning.py'


@cache
def text(name: str) -> str:
    return read(name).pretty_text


@cache
def read(name: str) -> Config:
    cfg = Config.fromfile(ROOT / 'configs' / name, import_custom_modules=False)
    return Config(cfg._cfg_dict, format_python_code=False)  # which takes seconds


@pytest.mark.parametrize('name', [DETECTION, SEGMENTATION, TUNED])
def test_every_setting_stands_in_a_row(name):
    settings = flat(read_config_text(text(name)))
    assert len(settings) > 100
    assert [key for key in settings if row_of(key) is None] == []


def test_the_docs_show_the_rows():
    page = (ROOT / 'docs' / 'resume.md').read_text()
    assert '\n'.join(table()) in page


@pytest.mark.parametrize(
    ('options', 'effect'),
    [
        ({'train_cfg.max_epochs': 24}, 'taken over'),
        ({'optim_wrapper.optimizer.lr': 1e-3}, 'taken over'),
        ({'optim_wrapper.optimizer.betas': (0.9, 0.99)}, 'taken over'),
        ({'optim_wrapper.loss_scale': 512.0}, 'taken over'),
        ({'optim_wrapper.type': 'AutocastOptimWrapper'}, 'taken over'),
        ({'optim_wrapper.paramwise_cfg.custom_keys': {'spm': dict(lr_mult=2)}}, 'taken over'),
        ({'param_scheduler.1.milestones': [16, 22]}, 'taken over'),
        ({'custom_hooks': [dict(type='EMAHook')]}, 'taken over'),
        ({'val_dataloader.batch_size': 2}, 'taken over'),
        ({'model.test_cfg.rcnn.score_thr': 0.3}, 'taken over'),
        ({'optim_wrapper.optimizer.type': 'SGD'}, 'stops'),
        ({'optim_wrapper.accumulative_counts': 2}, 'stops'),
        ({'model.backbone.encoder.drop_path_rate': 0.9}, 'stops'),
        ({'model.roi_head.bbox_head.num_classes': 3}, 'stops'),
        ({'model.data_preprocessor.mean': [0, 0, 0]}, 'stops'),
        ({'train_dataloader.batch_size': 3}, 'stops'),
        ({'train_dataloader.dataset.ann_file': 'annotations/others.json'}, 'stops'),
        ({'train_dataloader.dataset.pipeline.2.scale': (640, 640)}, 'stops'),
        ({'train_cfg.type': 'IterBasedTrainLoop'}, 'stops'),
        ({'randomness.seed': 5}, 'stops'),
        ({'optim_wrapper.accumulative_counts': 1}, 'no effect'),
        ({'train_dataloader.num_workers': 9}, 'no effect'),
        ({'model.backbone.encoder.with_cp': True}, 'no effect'),
        ({'model.backbone.encoder.pretrained': 'here.pth'}, 'no effect'),
        ({'default_hooks.logger.interval': 7}, 'no effect'),
        ({'work_dir': 'there'}, 'no effect'),
        ({'max_iters': 3, 'num_classes': 4}, 'no effect'),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else value,
)
def test_what_a_change_does(options, effect):
    now = copy.deepcopy(read(DETECTION))
    now.merge_from_dict(options)
    found = changes(text(DETECTION), now.pretty_text)
    assert {change.effect for change in found} == ({effect} - {'no effect'})
    assert all(change.before != change.now for change in found)


@pytest.mark.parametrize('name', [DETECTION, SEGMENTATION])
def test_a_moved_data_folder_is_no_change(name):
    now = copy.deepcopy(read(name))
    override_data_root(now, '/elsewhere/data')
    assert now.pretty_text != text(name)
    assert changes(text(name), now.pretty_text) == []


def test_a_config_in_a_checkpoint_is_read_and_not_run():
    text = "import os\nos.abort()\na = dict(b=[1, (2, None)], c=dict({'x.y': -1}))\nd = os.abort()"
    assert flat(read_config_text(text)) == {'a.b.0': 1, 'a.b.1': [2, None], 'a.c.x.y': -1} | {
        'd': 'os.abort()'
    }
    with pytest.raises(ValueError, match='cannot be read'):
        read_config_text('a = <object>')
