"""Trains the model of a configuration, for MMDetection and MMSegmentation configurations alike.

    python tools/train.py configs/coco/mask_rcnn_vitadapter_s.py --data-root data/coco --amp

Before anything is built, the environment, the configuration and the data are checked, so that a
fault shows in seconds.
"""

from __future__ import annotations

import argparse
import logging
import os
import shlex
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

# A checkout that is not installed works too; an installed package goes first.
sys.path.append(str(Path(__file__).resolve().parents[1]))
sys.path.append(str(Path(__file__).resolve().parents[1] / 'ops'))

from vitadapter_cli import add_training_arguments, config_parser, parse, positive


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Reads the command line."""
    parser = config_parser('Train a detector or a segmentor.')
    add_training_arguments(parser)
    start = parser.add_mutually_exclusive_group()
    start.add_argument(
        '--resume',
        nargs='?',
        const='auto',
        metavar='CHECKPOINT',
        help='go on from a checkpoint; without a value, from the last one in the work directory',
    )
    start.add_argument('--load-from', metavar='CHECKPOINT', help='start from these weights')
    parser.add_argument(
        '--accept-changes',
        action='store_true',
        help='resume although model, optimiser type, batch, seed or data differ (docs/resume.md)',
    )
    parser.add_argument(
        '--auto-scale-lr',
        action='store_true',
        help='scale the learning rate with the total batch size',
    )
    parser.add_argument(
        '--log-interval',
        type=positive,
        metavar='N',
        help='iterations between two lines in the log (default: as the configuration says; ours, a '
        'hundredth of the run, at most 50)',
    )
    parser.add_argument('--seed', type=int, help='seed of every random generator')
    return parse(parser, argv)


if __name__ == '__main__':
    parse_args()  # what the command line shows to be wrong ends here, before the slow imports

from mmengine.config import Config
from mmengine.dist import get_world_size, is_main_process

from vitadapter_dense.checkpoints.checked_loading import WeightsError
from vitadapter_dense.command_line.arguments import (
    ENDINGS,
    build_runner,
    errors_as_message,
    is_first_process,
    read_training_config,
    stop_as_status,
)
from vitadapter_dense.command_line.config import enable_auto_scale_lr
from vitadapter_dense.command_line.run_files import (
    checkpoint_to_resume,
    last_checkpoint,
    written_files,
)
from vitadapter_dense.command_line.work_dirs import (
    check_work_dir,
    forget_launch,
    hold_work_dir,
    is_started_again,
)
from vitadapter_dense.datasets.check_coco import check_config_datasets, log_remarks
from vitadapter_dense.encoders.image_statistics import find_other_statistics
from vitadapter_dense.inference.large_images import LargeImagesHook
from vitadapter_dense.reports.summary import RunSummaryHook
from vitadapter_dense.training.distributed import closed_in_order
from vitadapter_dense.training.errors import SettingsError
from vitadapter_dense.training.resuming_runner import go_on_from
from vitadapter_dense.training.stopping import Stopped, stops_on_signals


def configure(args: argparse.Namespace) -> Config:
    """Makes the configuration that the command line asks for."""
    cfg = read_training_config(args)
    if args.auto_scale_lr:
        enable_auto_scale_lr(cfg)
    if args.log_interval:
        cfg.merge_from_dict({'default_hooks.logger.interval': args.log_interval})
    if args.seed is not None:
        cfg.randomness = dict(cfg.get('randomness') or {}, seed=args.seed)
    return cfg


def main(argv: Sequence[str] | None = None) -> None:
    """Runs the training that the command line describes."""
    with closed_in_order(), ExitStack() as held:
        run(parse_args(argv), held)


def run(args: argparse.Namespace, held: ExitStack) -> None:
    """Trains, and lists what was written.

    Args:
        args: the command line.
        held: takes what is to be let go of at the end.
    """
    with errors_as_message():
        cfg, remarks = configure(args), []
        again = is_started_again(cfg.work_dir, args.launcher)
        start = checkpoint_to_resume(cfg.work_dir, args.resume, again=again)
        if again and is_first_process(args.launcher):
            print(
                f'The launcher starts this run again: it goes on from {start or "the beginning"}.'
            )
        elif start is None and args.resume:
            print(
                f'No checkpoint to resume from in {cfg.work_dir}: '
                'the run starts from the beginning.'
            )
        if start is None and cfg.get('resume'):
            start = cfg.get('load_from') or last_checkpoint(cfg.work_dir)
        if is_first_process(args.launcher):
            forget_launch(cfg.work_dir, args.launcher)
            check_work_dir(cfg.work_dir, args.config, start=start)
            remarks = check_config_datasets(cfg, loaders=('train', 'val'))
            remarks += [(logging.WARNING, line) for line in find_other_statistics(cfg)]
            held.enter_context(hold_work_dir(cfg.work_dir, args.config, launcher=args.launcher))
        runner = build_runner(cfg, verbose=args.verbose)
        runner.register_hook(RunSummaryHook())
        runner.register_hook(LargeImagesHook())
        if start is not None:
            go_on_from(runner, start, accept_changes=args.accept_changes)
    log_remarks(remarks, logger=runner.logger)
    with stop_as_status(lambda: tell_how_to_go_on(args, cfg)), errors_as_message(*ENDINGS):
        try:
            with stops_on_signals(runner):
                runner.train()
        except (SettingsError, WeightsError, Stopped):  # nothing was trained, or it is told above
            raise
        except BaseException:
            tell_how_to_go_on(args, cfg)
            raise
    if is_main_process():
        written = written_files(cfg.work_dir)
        print('Training is done. Written:')
        for label, path in written.items():
            print(f'  {label:<16} {path}')
        if cfg.get('test_dataloader'):  # with the configuration that fits, --cfg-options and all
            words = ['python', 'tools/test.py', str(written['configuration']), str(cfg.work_dir)]
            print(f'Evaluate it with: {shlex.join(words)}')


def tell_how_to_go_on(args: argparse.Namespace, cfg: Config) -> None:
    """Says, after a stop on the way, which checkpoint is whole and how to continue."""
    checkpoint = last_checkpoint(cfg.work_dir)
    if checkpoint is None or not is_main_process():
        return
    words = ['python', 'tools/train.py', args.config]
    if args.launcher == 'pytorch':
        processes = os.environ.get('LOCAL_WORLD_SIZE', str(get_world_size()))  # torchrun's
        words = ['tools/dist_train.sh', args.config, processes]
    elif args.launcher == 'slurm':
        words = ['tools/slurm_train.sh', 'PARTITION', 'JOB_NAME', args.config]
    print(
        f'Training stopped. The last whole checkpoint is {checkpoint}.\n'
        f'Continue with: {shlex.join([*words, "--work-dir", cfg.work_dir, "--resume"])} '
        '(and the other options as before)',
        file=sys.stderr,
    )


if __name__ == '__main__':
    main()
