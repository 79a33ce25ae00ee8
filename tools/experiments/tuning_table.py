"""Writes the tables of parameters into docs/tuning.md: every method on every kind of model.

    python tools/experiments/tuning_table.py

Models are built on the meta device; nothing is fetched or trained. Published figures stand beside
ours where there are any.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

# A checkout that is not installed works too; an installed package goes first.
sys.path.append(str(Path(__file__).resolve().parents[2]))
sys.path.append(str(Path(__file__).resolve().parents[2] / 'ops'))

from vitadapter_cli import parse


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Reads the command line."""
    return parse(argparse.ArgumentParser(description=__doc__.splitlines()[0]), argv)


if __name__ == '__main__':
    parse_args()  # what the command line shows to be wrong ends here, before the slow imports

import torch
from mmengine.config import Config
from torch import nn

from vitadapter_dense.inference.predictor import build_model
from vitadapter_dense.reports.method_table import method_table, trainable_millions

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / 'docs' / 'tuning.md'
MARKS = ('<!-- table: tools/experiments/tuning_table.py -->', '<!-- end of table -->')
SETR_MARKS = ('<!-- SETR: tools/experiments/tuning_table.py -->', '<!-- end of SETR -->')
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
    'PromptPool(10, 5)': dict(type='PromptPool', size=10, length=5, query='mean'),
    'PromptPool(10, 5), 5 a task': dict(
        type='PromptPool', size=10, length=5, query='mean', slots_per_task=5
    ),
    'VAEPromptGenerator(6)': dict(type='VAEPromptGenerator', length=6),
    'ClsPromptGenerator(5)': dict(type='ClsPromptGenerator', length=5, query='mean'),
    'the same with LwF': dict(type='ClsPromptGenerator', length=5, query='mean', lwf_weight=1.0),
}
# Trainable millions. Swin-B: V-PETL Bench (README of its repository), whose rows are of mixed
# provenance. ViT-B: VPT's 50 prompts. Cascade: of Pro-Tuning's table nothing but the ratio to full
# tuning is public.
PUBLISHED = {
    ('FullTuning', 'Swin-B'): '86.75',
    ('HeadOnly', 'Swin-B'): '0',
    ('PartialTuning(1)', 'Swin-B'): '12.60',
    ('BiasTuning', 'Swin-B'): '0.20',
    ('NormTuning', 'Swin-B'): '0.06',
    ('Adapter(64)', 'Swin-B'): '3.11',
    ('AdaptFormer(64)', 'Swin-B'): '3.11',
    ('LoRA(64)', 'Swin-B'): '3.03',
    ('Mona(64)', 'Swin-B'): '4.16',
    ('VPT shallow, 50', 'ViT-B'): '0.038',
    ('VPT deep, 50', 'ViT-B'): '0.46',
    ('ProTuning', 'R50 Cascade'): 'about 75% of full',
}
# VPT (https://arxiv.org/abs/2203.12119), table 3, as quoted by third parties: trainable millions,
# mIoU at one scale and at several.
SETR = {
    'full': (318.31, 48.31, 50.07),
    'head_only': (13.18, 35.12, 37.46),
    'bias': (13.46, 43.40, 45.33),
    'vpt_deep': (13.43, 42.11, 44.06),
    'vpt_deep_bias': (15.79, 44.04, 45.63),
}


def build(model: str, method: str) -> nn.Module:
    """A model of a configuration, or a backbone alone, tuned."""
    source, tuning = MODELS[model], METHODS[method]
    with torch.device('meta'):
        if isinstance(source, dict):
            cfg = dict(type='TunedBackbone', backbone=source, tuning=tuning)
            return build_model(Config(dict(model=cfg, default_scope='mmengine')))
        cfg = Config.fromfile(ROOT / 'configs' / source)
        cfg.model.backbone.tuning = tuning
        return build_model(cfg)


def setr_table() -> str:
    """VPT's dense experiment: our configurations' trainable millions beside its table."""
    lines = [
        '| config | trainable | published | published mIoU, one scale / several |',
        '|---|---|---|---|',
    ]
    for name, (millions, single, multi) in SETR.items():
        path = ROOT / 'configs' / 'ade20k' / f'setr_pup_vit_l_{name}.py'
        with torch.device('meta'):
            model = build_model(Config.fromfile(path))
        cells = (
            f'`{path.stem}`',
            f'{trainable_millions(model):.2f}',
            f'{millions:.2f}',
            f'{single:.2f} / {multi:.2f}',
        )
        lines.append(f'| {" | ".join(cells)} |')
    return '\n'.join(lines)


def main(argv: Sequence[str] | None = None) -> int:
    """Writes the tables between the marks of the page."""
    parse_args(argv)
    page, table = PAGE.read_text(), method_table(build, METHODS, MODELS, published=PUBLISHED)
    for (start, end), generated in ((MARKS, table), (SETR_MARKS, setr_table())):
        before, rest = page.split(start)
        _, after = rest.split(end)
        page = f'{before}{start}\n{generated}\n{end}{after}'
    PAGE.write_text(page)
    print(f'Written: {PAGE}')
    return 0


if __name__ == '__main__':
    sys.exit(main())
