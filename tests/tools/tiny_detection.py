"""A tiny detection task for the tools: a few images of coloured boxes and a small model."""

from __future__ import annotations

import contextlib
import importlib.util
import io
import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import cv2
import numpy as np
import pytest
from mmengine.utils import ManagerMixin

ROOT = Path(__file__).resolve().parents[2]
CLASSES = ('dark', 'light')

CONFIG = """
_base_ = [
    '{root}/configs/_base_/models/mask_rcnn_fpn.py',
    '{root}/configs/_base_/runtime/detection.py',
]
data_root = '{data}/'
metainfo = dict(classes={classes}, palette=[(220, 20, 60), (0, 90, 200)])
model = dict(
    backbone=dict(
        type='ViTAdapter',
        encoder=dict(
            type='TimmViT',
            model_name='deit_tiny_patch16_224',
            pretrained=False,
            embed_dim=32,
            depth=4,
            num_heads=2,
            window_sizes=[2, None, 2, None],
            drop_path_rate=0.2,
        ),
        conv_inplane=8,
        deform_num_heads=2,
    ),
    neck=dict(in_channels=[32] * 4, out_channels=16),
    rpn_head=dict(in_channels=16, feat_channels=16),
    roi_head=dict(
        bbox_roi_extractor=dict(out_channels=16),
        bbox_head=dict(in_channels=16, fc_out_channels=32, num_classes=2),
        mask_roi_extractor=dict(out_channels=16),
        mask_head=dict(num_convs=1, in_channels=16, conv_out_channels=16, num_classes=2),
    ),
    train_cfg=dict(
        rpn_proposal=dict(nms_pre=100, max_per_img=50), rcnn=dict(sampler=dict(num=32))
    ),
    test_cfg=dict(
        rpn=dict(nms_pre=100, max_per_img=50), rcnn=dict(score_thr=0.0, max_per_img=10)
    ),
)
train_pipeline = [
    dict(type='LoadImageChecked'),
    dict(type='LoadAnnotations', with_bbox=True, with_mask=True),
    dict(type='Resize', scale=(80, 64), keep_ratio=True),
    dict(type='RandomFlip', prob=0.5),
    dict(type='PackDetInputs'),
]
test_pipeline = [
    dict(type='LoadImageChecked'),
    dict(type='Resize', scale=(80, 64), keep_ratio=True),
    dict(type='LoadAnnotations', with_bbox=True, with_mask=True),
    dict(
        type='PackDetInputs',
        meta_keys=('img_id', 'img_path', 'ori_shape', 'img_shape', 'scale_factor'),
    ),
]
train_dataloader = dict(
    batch_size=2,
    num_workers=0,
    sampler=dict(type='DefaultSampler', shuffle=True),
    dataset=dict(
        type='CocoDataset',
        data_root=data_root,
        ann_file='annotations/instances_train.json',
        data_prefix=dict(img='train/'),
        metainfo=metainfo,
        pipeline=train_pipeline,
    ),
)
val_dataloader = dict(
    batch_size=1,
    num_workers=0,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(
        type='CocoDataset',
        data_root=data_root,
        ann_file='annotations/instances_val.json',
        data_prefix=dict(img='val/'),
        metainfo=metainfo,
        test_mode=True,
        pipeline=test_pipeline,
    ),
)
test_dataloader = val_dataloader
val_evaluator = dict(
    type='CocoMetric',
    ann_file=data_root + 'annotations/instances_val.json',
    metric=['bbox', 'segm'],
)
test_evaluator = val_evaluator
train_cfg = dict(type='EpochBasedTrainLoop', max_epochs=2, val_interval=1)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')
optim_wrapper = dict(type='OptimWrapper', optimizer=dict(type='AdamW', lr=1e-3))
default_hooks = dict(logger=dict(interval=1))
log_processor = dict(window_size=1)
auto_scale_lr = dict(enable=False, base_batch_size=2)
"""


def load_tool(name: str) -> ModuleType:
    """Imports a script of `tools/` as a module."""
    path = ROOT / 'tools' / name
    spec = importlib.util.spec_from_file_location(f'tool_{path.stem}', path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def run_script(
    *command: object, check: bool = True, **variables: str
) -> subprocess.CompletedProcess:
    """Runs a command from the project folder with few threads and returns what it said."""
    environment = dict(os.environ, OMP_NUM_THREADS='1', MKL_NUM_THREADS='1', **variables)
    paths = [str(ROOT), str(ROOT / 'ops'), environment.get('PYTHONPATH', '')]
    environment['PYTHONPATH'] = os.pathsep.join(path for path in paths if path)
    result = subprocess.run(
        [str(word) for word in command],
        cwd=ROOT,
        env=environment,
        stdin=subprocess.DEVNULL,  # a terminal would make it a session of a person's
        capture_output=True,
        text=True,
        timeout=900,
    )
    if check and result.returncode:
        pytest.fail(f'{command} ended with {result.returncode}:\n{result.stdout}\n{result.stderr}')
    return result


def write_split(root: Path, split: str, count: int, generator: np.random.Generator) -> None:
    """Writes `count` JPEGs of 64 x 80 with one to three filled boxes each, and labels."""
    (root / split).mkdir(parents=True)
    images, annotations = [], []
    for index in range(count):
        image = generator.integers(90, 160, (64, 80, 3), dtype=np.uint8)
        for _ in range(generator.integers(1, 4)):
            x, y = (int(value) for value in generator.integers(2, 40, 2))
            w, h = (int(value) for value in generator.integers(12, 22, 2))
            label = int(generator.integers(0, 2))
            image[y : y + h, x : x + w] = (20, 235)[label]
            corners = [x, y, x + w, y, x + w, y + h, x, y + h]
            entry = dict(bbox=[x, y, w, h], area=w * h, iscrowd=0, segmentation=[corners])
            ids = dict(id=len(annotations) + 1, image_id=index, category_id=label + 1)
            annotations.append({**entry, **ids})
        name = f'{split}_{index}.jpg'
        cv2.imwrite(str(root / split / name), image)
        images.append(dict(id=index, file_name=name, width=80, height=64))
    categories = [dict(id=number, name=name) for number, name in enumerate(CLASSES, start=1)]
    content = dict(images=images, annotations=annotations, categories=categories)
    folder = root / 'annotations'
    folder.mkdir(exist_ok=True)
    (folder / f'instances_{split}.json').write_text(json.dumps(content))


@dataclass(frozen=True)
class TinyTask:
    """The configuration, its data, the work directory of a finished training, and what it said."""

    config: Path
    data: Path
    work_dir: Path
    said: str


def forget_managers(kind: type = ManagerMixin) -> None:
    """Forgets loggers, visualizers and scopes of earlier runs, as a new process would."""
    for child in kind.__subclasses__():
        child._instance_dict.clear()
        forget_managers(child)


def run_tool(name: str, *arguments: object) -> tuple[Any, str]:
    """Runs a tool in this process; returns what its `main` returns and what it printed."""
    forget_managers()
    printed = io.StringIO()
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(printed):
        # The layout of dumped configurations takes most of the time of a tiny run.
        patch.setattr('yapf.yapflib.yapf_api.FormatCode', lambda text, **_: (text, True))
        returned = load_tool(name).main([str(word) for word in arguments])
    return returned, printed.getvalue()


def losses_by_iteration(work_dir: Path) -> dict[int, float]:
    """The losses that the runs in a work directory logged."""
    losses = {}
    for file in sorted(work_dir.glob('*/vis_data/scalars.json')):
        for line in file.read_text().splitlines():
            record = json.loads(line)
            if 'loss' in record:
                losses[record['iter']] = record['loss']
    return losses
