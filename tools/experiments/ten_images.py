"""Trains models of configs/shapes on ten images, in which each must find nearly everything.

    python tools/experiments/ten_images.py configs/shapes/dino_vitadapter_xs.py --iters 400
    python tools/experiments/ten_images.py shapes/atss_vitadapter_xs shapes/pmt_xs_panoptic

A model that cannot learn ten images by heart is broken, whatever it scores on others. The same ten
are trained on and evaluated, as the config does it, without flips; a PQ, box AP or mIoU below 0.8
(the first of them that the config measures) ends with an error. Every run leaves its log, its
checkpoint and `ten_images.json` in a folder of `--out`; a config that has this file already is not
run again.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

# A checkout that is not installed works too; an installed package goes first.
sys.path.append(str(Path(__file__).resolve().parents[2]))
sys.path.append(str(Path(__file__).resolve().parents[2] / 'ops'))

from vitadapter_cli import config_path, parse, positive

COMMAND = 'ten_images'
ENOUGH = 0.8
SCORES = {  # as the evaluators call them: what makes fractions of them
    'coco_panoptic/PQ': 0.01,
    'coco/bbox_mAP': 1.0,
    'coco/segm_mAP': 1.0,
    'mIoU': 0.01,
}


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Reads the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('configs', nargs='+', type=config_path, help='of configs/shapes')
    parser.add_argument('--iters', type=positive, default=500, help='of each training')
    parser.add_argument(
        '--out', type=Path, default=Path('work_dirs/ten_images'), help='where results go'
    )
    return parse(parser, argv)


if __name__ == '__main__':
    parse_args()  # what the command line shows to be wrong ends here, before the slow imports

from mmengine.config import Config

import vitadapter_dense  # noqa: F401  (registers)
from vitadapter_dense.checkpoints.files import atomic_write
from vitadapter_dense.command_line.arguments import build_runner, errors_as_message
from vitadapter_dense.command_line.config import override_data_root, set_iterations
from vitadapter_dense.datasets.shapes import generate_shapes
from vitadapter_dense.reports.output_files import claim_folder


def on_ten_images(cfg: Config, root: Path, *, iters: int) -> Config:
    """The config, trained and evaluated on the training images of `root`, without flips."""
    cfg.val_dataloader.dataset = of_training(cfg.val_dataloader.dataset)
    cfg.val_evaluator = of_training(cfg.val_evaluator)
    override_data_root(cfg, root)
    train = cfg.train_dataloader.dataset
    train.pipeline = [each for each in train.pipeline if each.type != 'RandomFlip']
    cfg.test_dataloader, cfg.test_evaluator = cfg.val_dataloader, cfg.val_evaluator
    set_iterations(cfg, iters)
    cfg.train_cfg.val_interval = iters
    cfg.default_hooks.checkpoint.update(interval=iters)
    return cfg


def of_training(part: Any) -> Any:
    """The same part of a config, with the training split's files and folders for validation's."""
    if isinstance(part, str):
        return re.sub('(?<![a-z])val(?![a-z])', 'train', part)
    if isinstance(part, dict):
        return {key: of_training(value) for key, value in part.items()}
    if isinstance(part, (list, tuple)):
        return type(part)(of_training(value) for value in part)
    return part


def main(argv: Sequence[str] | None = None) -> int:
    """Runs what is missing; 1 if a model has not learnt its ten images."""
    args = parse_args(argv)
    root = args.out / 'shapes'
    with errors_as_message():
        claim_folder(args.out, command=COMMAND)
        generate_shapes(root, num_train=10, num_val=1)
    scores = {}
    for path in args.configs:
        result = args.out / path.stem / 'ten_images.json'
        if not result.is_file():
            cfg = on_ten_images(Config.fromfile(path), root, iters=args.iters)
            cfg.work_dir = str(result.parent)
            cfg.launcher = 'none'
            runner = build_runner(cfg)
            runner.train()
            found = {
                name: scale * runner.message_hub.get_scalar(f'val/{name}').current()
                for name, scale in SCORES.items()
                if f'val/{name}' in runner.message_hub.log_scalars
            }
            with atomic_write(result) as file:
                file.write(json.dumps(found).encode())
        scores[path.stem] = json.loads(result.read_text())
    for name, found in scores.items():
        print(f'{name:30}', *(f'{key} {value:.3f}' for key, value in found.items()))
    # A detector that finds nothing has no score at all.
    return int(any(next(iter(found.values()), 0.0) < ENOUGH for found in scores.values()))


if __name__ == '__main__':
    sys.exit(main())
