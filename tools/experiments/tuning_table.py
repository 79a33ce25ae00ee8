"""Writes the tables of parameters: every method on every kind of model, and on every classifier.

    python tools/experiments/tuning_table.py

They go into docs/tuning.md and configs/classification/README.md. Models are built on the meta
device; nothing is fetched or trained. Published figures stand beside ours where there are any.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from functools import cache
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

from vitadapter_dense.inference.predictor import build_model, build_model_on_meta
from vitadapter_dense.reports.method_table import method_table, trainable_millions

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / 'docs' / 'tuning.md'
MARKS = ('<!-- table: tools/experiments/tuning_table.py -->', '<!-- end of table -->')
SETR_MARKS = ('<!-- SETR: tools/experiments/tuning_table.py -->', '<!-- end of SETR -->')
CLASSIFIERS = ROOT / 'configs' / 'classification'
PUBLISHED_MARKS = (
    '<!-- published: tools/experiments/tuning_table.py -->',
    '<!-- end of published -->',
)
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
    'VPT pad, 30': dict(VPT, num_tokens=30, location='pad'),
    'VPT below, 5': dict(VPT, num_tokens=5, location='below'),
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


# Classifiers: the methods of both papers; the prompts are those of the backbone's kind.
CLASSIFIER_METHODS = {
    'full': 'FullTuning',
    'head only': 'HeadOnly',
    'partial-1': 'PartialTuning(1)',
    'bias': 'BiasTuning',
    'side': 'SideTuning',
    'adapter, 64': 'Adapter(64)',
    'VPT': '',
    'Pro-Tuning': 'ProTuning',
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


@cache
def untuned(model: str) -> nn.Module | None:
    """The backbone of a classifier of timm's stages, which takes a while to build; else nothing."""
    cfg = Config.fromfile(CLASSIFIERS / f'classifier_{model}_full.py')
    if cfg.model.backbone.type != 'TunedBackbone':
        return None
    backbone = cfg.model.backbone.backbone
    return build_model_on_meta(Config(dict(model=backbone, default_scope='mmengine')))


def trainable_of(model: str, method: str, *, classes: int = 100, prompts: int = 0) -> float:
    """Millions that train of a classifier of the folder, by its name and that of a method."""
    cfg = Config.fromfile(CLASSIFIERS / f'classifier_{model}_full.py')
    cfg.model.head.num_classes = classes
    if untuned(model) is not None:  # the model gets a copy
        cfg.model.backbone.backbone = untuned(model)
    tuning = METHODS[CLASSIFIER_METHODS[method]] if CLASSIFIER_METHODS[method] else None
    if tuning is None:
        convolutional = not any(kind in model for kind in ('vit', 'deit', 'swin'))
        tuning = METHODS['VPT pad, 30' if convolutional else 'VPT deep, 50']
    cfg.model.backbone.tuning = dict(tuning, **(dict(num_tokens=prompts) if prompts else {}))
    return trainable_millions(build_model_on_meta(cfg))


def classifier_table() -> str:
    """Every classifier with the methods of both papers: trainable millions."""
    names = sorted(path.stem for path in CLASSIFIERS.glob('classifier_*_full.py'))
    models = [name.removeprefix('classifier_').removesuffix('_full') for name in names]
    lines = [f'| `classifier_` | {" | ".join(CLASSIFIER_METHODS)} |']
    lines.append('|---' * (1 + len(CLASSIFIER_METHODS)) + '|')
    for model in models:
        cells = [f'{trainable_of(model, method):.2f}' for method in CLASSIFIER_METHODS]
        lines.append(f'| `{model}_` | {" | ".join(cells)} |')
    return '\n'.join(lines)


def published_table() -> str:
    """What the papers and their code say of trainable parameters, and ours.

    Pro-Tuning (https://arxiv.org/abs/2207.14381): of its tables these figures alone are public, in
    a review of it. VPT: `tuned_params` in demo.ipynb of KMnP/vpt.
    """
    lines = ['| model, data set | what | published | ours |', '|---|---|---|---|']

    def add(where: str, what: str, published: str, ours: str) -> None:
        lines.append(f'| {where} | {what} | {published} | {ours} |')

    for classes in (100, 120):
        full, tuned = (trainable_of('r101', m, classes=classes) for m in ('full', 'Pro-Tuning'))
        where = f'ResNet-101, CIFAR-100-LT; ours with {classes} classes'
        add(where, 'full tuning, M', '42.75', f'{full:.2f}')
        add(where, 'Pro-Tuning, M', '3.86', f'{tuned:.2f}')
    for where, model, classes, other, less in (
        ('ResNet-50, CIFAR-10', 'r50', 10, 'full', 'about 6.2'),
        ('DeiT-B, Dogs', 'deit_b', 120, 'full', '27'),
        ('DeiT-S, ImageNet-A', 'deit_s', 1000, 'full', '25'),
        ('Swin-S, data set unknown', 'swin_s', 100, 'partial-1', '1.59 (37.1 % fewer)'),
        ('Swin-S, data set unknown', 'swin_s', 100, 'adapter, 64', '1.54 (35 % fewer, "Adapter2")'),
        ('Swin-B, data set unknown', 'swin_b', 100, 'side', '1.6'),
    ):
        tuned, full = (trainable_of(model, m, classes=classes) for m in ('Pro-Tuning', other))
        add(where, f'{other} / Pro-Tuning', less, f'{full / tuned:.2f}')
    for task, classes, prompts, published in (
        ('DMLab', 6, 100, 926214),
        ('EuroSAT', 10, 100, 929290),
        ('SUN397', 397, 5, 351373),
    ):
        ours = trainable_of('vit_b_in21k', 'VPT', classes=classes, prompts=prompts)
        where, what = f'ViT-B/16, {task} of VTAB-1k', f'VPT-deep, {prompts} prompts'
        add(where, what, f'{published:,}', f'{round(1e6 * ours):,}')
    return '\n'.join(lines)


def write_tables(page: Path, tables: dict[tuple[str, str], str]) -> None:
    """Puts tables between their marks on a page."""
    text = page.read_text()
    for (start, end), generated in tables.items():
        before, rest = text.split(start)
        _, after = rest.split(end)
        text = f'{before}{start}\n{generated}\n{end}{after}'
    page.write_text(text)
    print(f'Written: {page}')


def main(argv: Sequence[str] | None = None) -> int:
    """Writes the tables between the marks of their pages."""
    parse_args(argv)
    table = method_table(build, METHODS, MODELS, published=PUBLISHED)
    write_tables(PAGE, {MARKS: table, SETR_MARKS: setr_table()})
    tables = {MARKS: classifier_table(), PUBLISHED_MARKS: published_table()}
    write_tables(CLASSIFIERS / 'README.md', tables)
    return 0


if __name__ == '__main__':
    sys.exit(main())
