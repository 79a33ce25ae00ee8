"""Trains the tasks of a sequence one after the other, and says what was learnt and forgotten.

    python tools/train_continual.py configs/continual/classifier_vit_xs_shapes.py --seeds 0 1 2

The configuration is one for tools/train.py with `continual = dict(groups=...)` (docs/continual.md).
Each task is a run of its own, `seed_0/task_00` and so on in the work directory; a sequence that was
stopped goes on with --resume.
"""

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

# A checkout that is not installed works too; an installed package goes first.
sys.path.append(str(Path(__file__).resolve().parents[1]))
sys.path.append(str(Path(__file__).resolve().parents[1] / 'ops'))

from vitadapter_cli import add_training_arguments, config_parser, not_negative, parse


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Reads the command line."""
    parser = config_parser('Train the tasks of a sequence, and evaluate after each.')
    add_training_arguments(parser)
    parser.add_argument(
        '--seeds',
        nargs='+',
        type=not_negative,
        metavar='SEED',
        help='one sequence for each; mean and range are written (default: that of the '
        'configuration)',
    )
    parser.add_argument(
        '--resume',
        action='store_true',
        dest='goes_on',
        help='go on where the sequence was stopped',
    )
    parser.add_argument(
        '--from-task',
        type=not_negative,
        metavar='N',
        help='go on, and train the tasks from number N (0 is the first) anew; what they had left '
        'is moved aside',
    )
    parser.add_argument('--load-from', metavar='CHECKPOINT', help='start the first task from it')
    return parse(parser, argv)


if __name__ == '__main__':
    parse_args()  # what the command line shows to be wrong ends here, before the slow imports

from mmengine.config import Config
from mmengine.dist import barrier, is_main_process

from vitadapter_dense.command_line.arguments import (
    ENDINGS,
    errors_as_message,
    read_training_config,
    stop_as_status,
)
from vitadapter_dense.command_line.task_sequence import Stage, TaskSequence
from vitadapter_dense.command_line.work_dirs import (
    check_work_dir,
    forget_launch,
    hold_work_dir,
    is_started_again,
)
from vitadapter_dense.continual.errors import ScheduleError
from vitadapter_dense.continual.results import summary_lines, write_results
from vitadapter_dense.continual.settings import read_settings
from vitadapter_dense.datasets.check_coco import check_config_datasets
from vitadapter_dense.reports.output_files import OutputError
from vitadapter_dense.training.distributed import closed_in_order, join_processes


def main(argv: Sequence[str] | None = None) -> None:
    """Runs the sequences that the command line describes."""
    with closed_in_order(), ExitStack() as held:
        run(parse_args(argv), held)


def run(args: argparse.Namespace, held: ExitStack) -> None:
    """Trains the tasks of every seed, and writes what they gave.

    Args:
        args: the command line.
        held: takes what is to be let go of at the end.
    """
    with errors_as_message():
        cfg = read_training_config(args)
        read_settings(cfg)  # an error of these needs no other process
        join_processes(cfg.launcher, cfg.get('env_cfg'))
        seeds = args.seeds or [int((cfg.get('randomness') or {}).get('seed') or 0)]
        if is_main_process():
            again = is_started_again(cfg.work_dir, args.launcher)
            forget_launch(cfg.work_dir, args.launcher)
            check_work_dir(cfg.work_dir, args.config)
            check_config_datasets(cfg, loaders=('train', 'val', 'test'))
            held.enter_context(hold_work_dir(cfg.work_dir, args.config, launcher=args.launcher))
            sequence = TaskSequence(cfg, seeds, verbose=args.verbose)
            goes_on = again or args.goes_on or args.from_task is not None
            sequence.begin(goes_on=goes_on, from_task=None if again else args.from_task)
        barrier()
        if not is_main_process():  # which classes the images have is written by now
            sequence = TaskSequence(cfg, seeds, verbose=args.verbose)
    with (
        stop_as_status(lambda: tell_how_to_go_on(args, cfg)),
        errors_as_message(*ENDINGS, OutputError, ScheduleError),
    ):
        for stage in sequence.run():
            if is_main_process():
                report(stage)
    if is_main_process():
        results, folder = sequence.results(), Path(cfg.work_dir)
        with errors_as_message(OutputError):
            written = write_results(folder, results, sequence.facts)
        print('All tasks are done.' + (f' Seeds: {len(seeds)}.' if len(seeds) > 1 else ''))
        print('\n'.join(f'  {line}' for line in summary_lines(results)))
        print('Written:')
        print('\n'.join(f'  {path}' for path in written))


def report(stage: Stage) -> None:
    """Says what comes, or what a task gave."""
    if stage.row is None:
        print(f'{stage.place}: {stage.what}', flush=True)
        return
    scores = ', '.join(f'{value:.1f}' for value in stage.row)
    left = f'; about {stage.minutes_left:.0f} minutes to go' if stage.minutes_left else ''
    print(f'{stage.place}: {stage.what} by task {scores}{left}', flush=True)


def tell_how_to_go_on(args: argparse.Namespace, cfg: Config) -> None:
    """Says how to continue after a stop on the way."""
    if is_main_process():
        words = ['python', 'tools/train_continual.py', args.config, '--work-dir', cfg.work_dir]
        words += ['--seeds', *map(str, args.seeds)] if args.seeds else []
        print(
            f'Training stopped. Continue with: {shlex.join(words)} --resume (and the other options '
            'as before' + (', without --from-task)' if args.from_task is not None else ')'),
            file=sys.stderr,
        )


if __name__ == '__main__':
    main()
