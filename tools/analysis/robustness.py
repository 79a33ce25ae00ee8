"""Evaluates a model on corrupted images: noise, blur, weather and compression at five severities.

    python tools/analysis/robustness.py configs/shapes/mask_rcnn_vitadapter_xs.py WORK_DIR

Writes robustness.json, .txt and .png to the work directory: each metric by corruption and severity,
mPC and rPC, and mCE for a classifier on ImageNet's classes. The corrupted images are the same in
every run. Killed, it goes on by the same command; several processes share it (--launcher).
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

# A checkout that is not installed works too; an installed package goes first.
sys.path.append(str(Path(__file__).resolve().parents[2]))
sys.path.append(str(Path(__file__).resolve().parents[2] / 'ops'))

from vitadapter_cli import (
    add_checkpoint_argument,
    add_launcher_argument,
    config_parser,
    parse,
    positive,
)


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Reads the command line."""
    parser = config_parser('Evaluate a detector, segmentor or classifier on corrupted images.')
    add_checkpoint_argument(parser)
    parser.add_argument(
        '--corruptions',
        nargs='+',
        default=['test'],
        metavar='NAME',
        help='names, or test (the fifteen) or validation (the other four) (default: test)',
    )
    parser.add_argument(
        '--severities', nargs='+', type=int, default=[1, 2, 3, 4, 5], help='(default: 1 2 3 4 5)'
    )
    parser.add_argument(
        '--num-images',
        type=positive,
        help='so many images of the test set, evenly spread over it (default: all)',
    )
    parser.add_argument(
        '--metrics', nargs='+', default=[], metavar='NAME', help='to show (default: the main ones)'
    )
    parser.add_argument('--out', type=Path, help='JSON (default: <work dir>/robustness.json)')
    parser.add_argument('--work-dir', help='where the log goes (default: that of the checkpoint)')
    add_launcher_argument(parser)
    return parse(parser, argv)


if __name__ == '__main__':
    parse_args()  # what the command line shows to be wrong ends here, before the slow imports

from mmengine.config import Config
from mmengine.dist import is_main_process

from vitadapter_dense.checkpoints.checked_loading import WeightsError
from vitadapter_dense.command_line.arguments import (
    build_runner,
    errors_as_message,
    is_first_process,
    prepare_launch,
    read_config,
)
from vitadapter_dense.command_line.config import add_hook
from vitadapter_dense.command_line.work_dirs import set_tested
from vitadapter_dense.datasets.check_coco import check_config_datasets
from vitadapter_dense.datasets.corruption import (
    CORRUPTIONS,
    VALIDATION_CORRUPTIONS,
    check_corruption,
)
from vitadapter_dense.datasets.errors import DatasetError
from vitadapter_dense.inference.fewer_images import take_images
from vitadapter_dense.inference.under_corruption import (
    COMMAND,
    Record,
    measure,
    prepare_corruption,
)
from vitadapter_dense.reports.output_files import OutputError, check_outputs, write_output
from vitadapter_dense.reports.progress import ProgressBarHook
from vitadapter_dense.reports.robustness import (
    CLEAN,
    Condition,
    robustness_figure,
    robustness_lines,
    robustness_of,
)
from vitadapter_dense.training.distributed import closed_in_order

GROUPS = {'test': CORRUPTIONS, 'validation': VALIDATION_CORRUPTIONS}


def conditions_of(args: argparse.Namespace) -> list[Condition]:
    """What the command line asks for, each once.

    Raises:
        ValueError: for a corruption or severity that there is not.
    """
    names = [name for given in args.corruptions for name in GROUPS.get(given, (given,))]
    found = list(dict.fromkeys((name, severity) for name in names for severity in args.severities))
    for condition in found:
        check_corruption(*condition)
    return found


def configure(args: argparse.Namespace) -> Config:
    """Makes the configuration whose test images are corrupted."""
    cfg = read_config(args)
    if cfg.get('test_dataloader') is None:
        raise ValueError(f'{args.config} has no test_dataloader: it describes nothing to test.')
    set_tested(cfg, args.config, args.checkpoint, work_dir=args.work_dir)
    args.out = args.out or Path(cfg.work_dir) / 'robustness.json'
    if args.out.suffix != '.json':
        raise ValueError(f'--out must end with .json, got {str(args.out)!r}.')
    others = [args.out.with_suffix('.txt'), args.out.with_suffix('.png')]
    check_outputs([args.out, *others], command=COMMAND)
    if args.num_images:
        take_images(cfg, args.num_images, folder=args.out.parent, command=COMMAND)
    args.record = Record(args.out, cfg)
    prepare_corruption(cfg)
    prepare_launch(cfg, args.launcher)
    add_hook(cfg, dict(type=ProgressBarHook.__name__))
    return cfg


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the tool; returns the exit status."""
    args = parse_args(argv)
    with closed_in_order():
        return run(args)


def run(args: argparse.Namespace) -> int:
    """Measures what is missing, and writes the tables and the picture."""
    with errors_as_message():
        conditions = conditions_of(args)
        cfg = configure(args)
        if is_first_process(args.launcher):
            check_config_datasets(cfg, loaders=('test',))
        runner = build_runner(cfg, evaluation=True, verbose=args.verbose)

    def tell(condition: Condition, number: int) -> None:
        name = f'{condition[0]}, severity {condition[1]}' if condition != CLEAN else 'clean images'
        runner.logger.info(f'{number} of {len(conditions) + 1}: {name}')

    with errors_as_message(DatasetError, OutputError, WeightsError, ValueError):
        measure(runner, args.record, conditions, before_each=tell)
        if is_main_process():
            classes = runner.test_dataloader.dataset.metainfo.get('classes', ())
            report(args, conditions, num_classes=len(classes))
    return 0


def report(args: argparse.Namespace, conditions: Sequence[Condition], *, num_classes: int) -> None:
    """Prints the tables of what was asked for, and writes them beside the JSON."""
    results = {condition: args.record.results[condition] for condition in [CLEAN, *conditions]}
    found = robustness_of(results, args.metrics, num_classes=num_classes)
    tables = '\n\n'.join('\n'.join(robustness_lines(one)) for one in found)
    text, picture = args.out.with_suffix('.txt'), args.out.with_suffix('.png')
    with write_output(text, command=COMMAND) as partial:
        partial.write_text(tables + '\n')
    with write_output(picture, command=COMMAND) as partial:
        robustness_figure(found).savefig(partial, dpi=110)
    print(tables)
    print(f'Written: {args.out}, {text}, {picture}')


if __name__ == '__main__':
    sys.exit(main())
