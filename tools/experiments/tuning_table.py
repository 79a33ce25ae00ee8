"""Writes the table of parameters into docs/tuning.md: every method on every kind of model.

    python tools/experiments/tuning_table.py

Models are built on the meta device; nothing is fetched or trained.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

# A checkout that is not installed works too; an installed package goes first.
sys.path.append(str(Path(__file__).resolve().parents[2]))
sys.path.append(str(Path(__file__).resolve().parents[2] / 'ops'))

import torch
from mmengine.config import Config
from torch import nn

from vitadapter_dense.engine.delta import frozen_names
from vitadapter_dense.engine.inference import build_model

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / 'docs' / 'tuning.md'
MARKS = ('<!-- table: tools/experiments/tuning_table.py -->', '<!-- end of table -->')
SWIN_B = dict(type='TimmStages', model_name='swin_base_patch4_window7_224')
VIT_B = dict(
    type='PlainViT', encoder=dict(type='TimmViT', model_name='vit_base_patch16_224.augreg_in21k')
)
MODELS = {
    'R50 Cascade': 'coco/cascade_mask_rcnn_r50_full.py',
    'R50 UperNet': 'ade20k/upernet_r50_full.py',
    'Swin-B': SWIN_B,
    'ViT-B': VIT_B,
    'ViTAdapter-B': 'coco/mask_rcnn_vitadapter_b.py',
}
VPT = dict(type='VisualPromptTuning', num_tokens=50)
METHODS = {
    'FullTuning': dict(type='FullTuning'),
    'HeadOnly': dict(type='HeadOnly'),
    'PartialTuning(1)': dict(type='PartialTuning', num_blocks=1),
    'PartialTuning(2)': dict(type='PartialTuning', num_blocks=2),
    'BiasTuning': dict(type='BiasTuning'),
    'NormTuning': dict(type='NormTuning'),
    'SideTuning': dict(type='SideTuning'),
    'MLPHead(3)': dict(type='MLPHead', num_layers=3),
    'Adapter(64)': dict(type='Adapter', hidden=64),
    'AdaptFormer(64)': dict(type='AdaptFormer', hidden=64),
    'Convpass(8)': dict(type='Convpass', hidden=8),
    'Mona(64)': dict(type='Mona', hidden=64),
    'LoRA(8)': dict(type='LoRA', rank=8),
    'LoRA(64)': dict(type='LoRA', rank=64),
    'SSF': dict(type='SSF'),
    'VPT shallow, 50': VPT,
    'VPT deep, 50': dict(VPT, deep=True),
    'VPT deep, 50 + bias': [dict(VPT, deep=True), dict(type='BiasTuning')],
    'ProTuning': dict(type='ProTuning'),
}


def build(source: str | dict, tuning: object) -> nn.Module:
    """A model of a configuration, or a backbone alone, tuned."""
    with torch.device('meta'):
        if isinstance(source, dict):
            cfg = dict(type='TunedBackbone', backbone=source, tuning=tuning)
            return build_model(Config(dict(model=cfg, default_scope='mmengine')))
        cfg = Config.fromfile(ROOT / 'configs' / source)
        cfg.model.backbone.tuning = tuning
        return build_model(cfg)


def cell(model: nn.Module) -> str:
    """Trainable millions, their share, and the size of a delta."""
    parameters = list(model.parameters())
    trainable = sum(p.numel() for p in parameters if p.requires_grad)
    state = model.state_dict()
    left = state.keys() - set(frozen_names(model))
    size = sum(state[name].numel() * state[name].element_size() for name in left) / 1e6
    share = trainable / sum(p.numel() for p in parameters)
    return f'{trainable / 1e6:.2f} ({share:.1%}), {size:.1f}'


def table() -> str:
    """The table as Markdown."""
    lines = [f'| method | mergeable | {" | ".join(MODELS)} |', '|---' * (2 + len(MODELS)) + '|']
    for name, tuning in METHODS.items():
        cells, mergeable = [], ''
        for source in MODELS.values():
            try:
                model = build(source, tuning)
            except ValueError as error:
                if 'inside transformer blocks' not in str(error):
                    raise
                cells.append('-')
                continue
            backbone = model if isinstance(source, dict) else model.backbone
            mergeable = 'yes' if backbone.tuning.mergeable else 'no'
            cells.append(cell(model))
        lines.append(f'| {name} | {mergeable} | {" | ".join(cells)} |')
    return '\n'.join(lines)


def main(argv: Sequence[str] | None = None) -> int:
    """Writes the table between the marks of the page."""
    generated = table()
    before, rest = PAGE.read_text().split(MARKS[0])
    _, after = rest.split(MARKS[1])
    PAGE.write_text(f'{before}{MARKS[0]}\n{generated}\n{MARKS[1]}{after}')
    print(f'Written: {PAGE}')
    return 0


if __name__ == '__main__':
    sys.exit(main())
