"""Tries what is installed, away from the checkout: one training step of a packed configuration.

python .ci/smoke.py compiled|reference
"""

from __future__ import annotations

import sys
from pathlib import Path

import mmcv.ops
import torch
from mmengine.registry import MODELS, init_default_scope

import msda
import vitadapter_dense
from vitadapter_dense import config_path, list_models, load_config

NAME = 'configs/ade20k/upernet_vitadapter_t.py'

assert 'site-packages' in vitadapter_dense.__file__, vitadapter_dense.__file__
assert config_path(NAME).is_relative_to(Path(vitadapter_dense.__file__).parent)
assert config_path('mask_rcnn_vitadapter_s').is_file()
assert list_models('coco/mask_rcnn_vitadapter_s')
backend = msda.backend('cpu')
assert backend.name == sys.argv[1], backend
boxes = torch.tensor([[0.0, 0, 9, 9], [0, 0, 9, 8], [20, 20, 30, 30]])
assert mmcv.ops.nms(boxes, torch.tensor([0.9, 0.8, 0.7]), 0.5)[1].tolist() == [0, 2]

cfg = load_config(NAME)
init_default_scope(cfg.default_scope)
backbone = MODELS.build(cfg.model.backbone)
maps = backbone(torch.rand(2, 3, 64, 64))
sum(one.square().mean() for one in maps).backward()
assert all(torch.isfinite(p.grad).all() for p in backbone.parameters() if p.grad is not None)
sys.stdout.write(
    f'vitadapter_dense {vitadapter_dense.__version__}, torch {torch.__version__}, msda {backend}: '
    f'{NAME} gives {[tuple(one.shape) for one in maps]}\n'
)
