"""Trains one small model of each kind at the same budget on generated shapes, and compares them.

    python tools/experiments/compare_heads.py
    python tools/experiments/compare_heads.py --kinds pmt_xs_instance eomt_xs_instance --iters 300

Every kind sees the same images in batches of the same size, and starts from the encoder of a
trained quick start, which has seen other scenes of the same generator; its config says whether the
encoder is frozen, and gives the learning rates. It is evaluated at a third of the budget and at its
end. Every kind leaves a file in `--out`; a call that was stopped goes on with the kinds that are
missing. `table.md` and `plot.png` are written after every kind. Seconds are the processor's, with
as many threads as `OMP_NUM_THREADS` says: other programs disturb them less.
"""

from __future__ import annotations

import argparse
import itertools
import json
import statistics
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

# A checkout that is not installed works too; an installed package goes first.
sys.path.append(str(Path(__file__).resolve().parents[2]))
sys.path.append(str(Path(__file__).resolve().parents[2] / 'ops'))

from vitadapter_cli import config_path, parse, positive

KINDS = (
    'mask_rcnn_vitadapter_xs',
    'mask_rcnn_liteadapter_xs',
    'mask_rcnn_vit_xs',
    'atss_vitadapter_xs',
    'gfl_vitadapter_xs',
    'sparse_rcnn_vitadapter_xs',
    'htc_pp_vitadapter_xs',
    'dino_vitadapter_xs',
    'mask2former_vitadapter_xs_instance',
    'pmt_xs_instance',
    'eomt_xs_instance',
    'mask2former_vitadapter_xs_panoptic',
    'pmt_xs_panoptic',
    'eomt_xs_panoptic',
    'upernet_vitadapter_xs',
    'pmt_xs',
    'eomt_xs',
)
COMMAND = 'compare_heads'
SEED = 1  # of the scenes; the quick start's are those of seed 0
BATCH = 4
WARM_UP, TIMED = 3, 20  # predictions


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Reads the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        '--kinds',
        nargs='+',
        default=list(KINDS),
        choices=KINDS,
        metavar='KIND',
        help=f'configs of configs/shapes ({", ".join(KINDS)})',
    )
    parser.add_argument('--iters', type=positive, default=1000, help='of each training (1000)')
    parser.add_argument('--size', type=positive, default=192, help='side of the images (192)')
    parser.add_argument('--num-train', type=positive, default=3000, help='training images (3000)')
    parser.add_argument('--num-val', type=positive, default=100, help='validation images (100)')
    parser.add_argument(
        '--encoder',
        type=Path,
        default=Path('work_dirs/shapes/mask_rcnn_vitadapter_xs/iter_1800.pth'),
        help='checkpoint of the quick start (`make train`), whose encoder all start from',
    )
    parser.add_argument(
        '--out', type=Path, default=Path('work_dirs/compare_heads'), help='where results go'
    )
    args = parse(parser, argv)
    if args.iters < 3:
        parser.error(f'--iters {args.iters} has no third: give 3 or more')
    if args.size < 64 or args.size % 32:
        parser.error(f'--size {args.size} must be a multiple of 32, and 64 at least')
    if args.num_val <= WARM_UP:
        parser.error(f'--num-val {args.num_val}: times need {WARM_UP + 1} images or more')
    if not args.encoder.is_file():
        parser.error(f'--encoder {args.encoder} is no file: `make train` makes the quick start')
    return args


if __name__ == '__main__':
    parse_args()  # what the command line shows to be wrong ends here, before the slow imports

import torch
from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.runner import Runner

import vitadapter_dense  # noqa: F401  (registers)
from vitadapter_dense.checkpoints.checked_loading import WeightsError
from vitadapter_dense.checkpoints.files import atomic_write
from vitadapter_dense.command_line.arguments import build_runner, errors_as_message
from vitadapter_dense.command_line.config import add_hook, override_data_root, set_iterations
from vitadapter_dense.datasets.errors import DatasetError
from vitadapter_dense.datasets.shapes import generate_shapes
from vitadapter_dense.reports.flops import count_flops
from vitadapter_dense.reports.head_comparison import COMPARISON_FILES, percent, write_comparison
from vitadapter_dense.reports.output_files import OutputError, check_outputs, claim_folder
from vitadapter_dense.reports.progress import ProgressBarHook
from vitadapter_dense.training.errors import SettingsError
from vitadapter_dense.training.finite import NotFiniteError


class ComparisonHook(Hook):
    """Keeps the processor's seconds of this process in training steps, and what evaluations say."""

    priority = 'VERY_HIGH'

    def __init__(self) -> None:
        self.seconds: list[float] = []
        self.evaluations: list[dict[str, float]] = []
        self._start = 0.0

    def before_train_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None) -> None:
        """Starts the clock."""
        self._start = time.process_time()

    def after_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: Any = None
    ) -> None:
        """Stops the clock."""
        self.seconds.append(time.process_time() - self._start)

    def after_val_epoch(self, runner: Runner, metrics: dict[str, float] | None = None) -> None:
        """Keeps the scores."""
        self.evaluations.append(percent(metrics or {}))

    def scores(self) -> dict[str, list[float]]:
        """By name, those of all evaluations; one that found no object gives none, and counts 0."""
        names = dict.fromkeys(itertools.chain(*self.evaluations))
        return {name: [found.get(name, 0.0) for found in self.evaluations] for name in names}


def at_budget(cfg: Config, *, iters: int, size: int, encoder: Path) -> Config:
    """The config with so many iterations, evaluated at a third of them and at their end.

    Args:
        cfg: one of `configs/shapes`.
        size: side of the images, which are square.
        encoder: the checkpoint whose encoder is where the training starts.
    """
    for loader in (cfg.train_dataloader, cfg.val_dataloader):
        for step in loader.dataset.pipeline:
            if step.type == 'Resize':
                step.scale = (size, size)
    if 'size' in cfg.model.data_preprocessor:
        cfg.model.data_preprocessor.size = (size, size)
    for owner in (cfg.model, cfg.model.get('decode_head') or {}):
        if 'num_points' in (owner.get('train_cfg') or {}):
            owner.train_cfg.num_points = (size // 4) ** 2  # all pixels of the masks
    # DeiT's size has the image statistics that the quick start was trained with.
    cfg.model.backbone.encoder.update(model_name='deit_tiny_patch16_224', pretrained=str(encoder))
    cfg.train_dataloader.batch_size = BATCH
    set_iterations(cfg, iters)
    # From the step after the third on, whose interval is looked up with the step that follows it,
    # the next evaluation is the one at the end.
    third = iters // 3
    cfg.train_cfg.update(val_interval=third, dynamic_intervals=[(third + 2, iters)])
    cfg.default_hooks.checkpoint.update(interval=iters, save_best=None)
    return cfg


def measure(runner: Runner) -> dict[str, Any]:
    """Trains; returns scores at a third and at the end, sizes, operations and seconds."""
    hook = ComparisonHook()
    runner.register_hook(hook)
    runner.train()
    model = runner.model.eval()
    loader = runner.build_dataloader(dict(runner.cfg.val_dataloader, batch_size=1))
    seconds = []
    with torch.no_grad():
        for batch in itertools.islice(loader, WARM_UP + TIMED):
            start = time.process_time()
            model.test_step(batch)
            seconds.append(time.process_time() - start)
        flops = count_flops(model, lambda: model.test_step(batch))['']
    parameters = list(model.parameters())
    return dict(
        scores=hook.scores(),
        iters=runner.max_iters,
        parameters=sum(each.numel() for each in parameters),
        trained=sum(each.numel() for each in parameters if each.requires_grad),
        flops=flops,
        step_seconds=statistics.median(hook.seconds),
        image_seconds=statistics.median(seconds[WARM_UP:]),
        threads=torch.get_num_threads(),
    )


def main(argv: Sequence[str] | None = None) -> int:
    """Runs what is missing and writes the report."""
    args = parse_args(argv)
    root = args.out / 'shapes'
    with errors_as_message(DatasetError, OutputError):
        claim_folder(args.out, command=COMMAND)
        check_outputs([args.out / name for name in COMPARISON_FILES], command=COMMAND)
        counts = dict(num_train=args.num_train, num_val=args.num_val)
        generate_shapes(root, **counts, size=args.size, seed=SEED)
    results = {}
    for number, kind in enumerate(args.kinds, start=1):
        path = args.out / f'{kind}_{args.iters}_{args.size}.json'
        print(f'{kind} ({number} of {len(args.kinds)})', flush=True)
        if not path.is_file():
            cfg = Config.fromfile(config_path(f'shapes/{kind}'))
            override_data_root(cfg, root)
            at_budget(cfg, iters=args.iters, size=args.size, encoder=args.encoder)
            cfg.work_dir, cfg.launcher = str(args.out / kind), 'none'
            add_hook(cfg, dict(type=ProgressBarHook.__name__))
            with errors_as_message(DatasetError, NotFiniteError, SettingsError, WeightsError):
                result = measure(build_runner(cfg))
            with atomic_write(path) as file:
                file.write(json.dumps(result, indent=1).encode())
        results[kind] = json.loads(path.read_text())
        written = write_comparison(results, args.out, command=COMMAND)
    print(written[0].read_text())
    print('Written:', *written)
    return 0


if __name__ == '__main__':
    sys.exit(main())
