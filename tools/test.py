"""Evaluates a checkpoint, for MMDetection and MMSegmentation configurations alike.

    python tools/test.py configs/coco/mask_rcnn_vit_s.py work_dirs/coco/mask_rcnn_vit_s

In place of a checkpoint a work directory may stand: its best checkpoint is taken, or its last one.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

# A checkout that is not installed works too; an installed package goes first.
sys.path.append(str(Path(__file__).resolve().parents[1]))
sys.path.append(str(Path(__file__).resolve().parents[1] / 'ops'))

from vitadapter_cli import (
    add_checkpoint_argument,
    add_launcher_argument,
    config_parser,
    parse,
    positive,
    share,
)


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Reads the command line."""
    parser = config_parser('Evaluate a detector or a segmentor.')
    add_checkpoint_argument(parser)
    parser.add_argument(
        '--work-dir',
        help='where the log goes (default: the work directory, or the one of the configuration)',
    )
    parser.add_argument(
        '--show-dir',
        nargs='?',
        const='',
        help='write pictures of predictions beside ground truth (default: <work dir>/pictures)',
    )
    parser.add_argument(
        '--max-pictures', type=positive, metavar='N', help='stop drawing after N images'
    )
    parser.add_argument(
        '--score-thr',
        type=share,
        default=0.3,
        help='lowest score that is drawn, and counted by --report (default: 0.3)',
    )
    parser.add_argument(
        '--report',
        action='store_true',
        help='write report.html to the work directory, and tables and plots to report/ there',
    )
    parser.add_argument(
        '--by-frequency',
        action='store_true',
        help='also evaluate classes in groups, by their number of training images: many-, medium- '
        'and few-shot accuracy; AP of frequent, common and rare categories',
    )
    parser.add_argument('--tta', action='store_true', help='test-time augmentation')
    parser.add_argument(
        '--out', help='a .pkl for the predictions of every image, or a .json for the metrics'
    )
    add_launcher_argument(parser)
    args = parse(parser, argv)
    if args.max_pictures and args.show_dir is None:
        parser.error('--max-pictures counts the pictures of --show-dir: give both')
    return args


if __name__ == '__main__':
    parse_args()  # what the command line shows to be wrong ends here, before the slow imports

from mmengine.config import Config
from mmengine.dist import is_main_process
from mmengine.runner import Runner

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
from vitadapter_dense.datasets.check_coco import check_config_datasets, log_remarks
from vitadapter_dense.datasets.errors import DatasetError
from vitadapter_dense.inference.large_images import LargeImagesHook
from vitadapter_dense.inference.tta import apply_tta
from vitadapter_dense.reports.dump_predictions import DumpPredictions
from vitadapter_dense.reports.frequency_groups import FrequencyGroupsHook
from vitadapter_dense.reports.metric_lines import metric_lines
from vitadapter_dense.reports.output_files import OutputError, check_outputs, write_output
from vitadapter_dense.reports.pictures import PredictionPicturesHook
from vitadapter_dense.reports.progress import ProgressBarHook
from vitadapter_dense.reports.report_hook import ReportHook, write_training_report
from vitadapter_dense.training.distributed import closed_in_order


def configure(args: argparse.Namespace) -> Config:
    """Makes the configuration that the command line asks for."""
    cfg = read_config(args)
    if cfg.get('test_dataloader') is None and not args.report:
        raise ValueError(f'{args.config} has no test_dataloader: it describes nothing to test.')
    set_tested(cfg, args.config, args.checkpoint, work_dir=args.work_dir)
    if args.tta:
        apply_tta(cfg)
    if args.show_dir is not None:
        args.show_dir = args.show_dir or str(Path(cfg.work_dir) / 'pictures')
        hook = dict(type=PredictionPicturesHook.__name__, out_dir=args.show_dir)
        options = dict(score_thr=args.score_thr, max_pictures=args.max_pictures)
        add_hook(cfg, dict(hook, **options))
    if args.report:
        add_hook(cfg, dict(type=ReportHook.__name__, score_thr=args.score_thr))
    if args.by_frequency:
        add_hook(cfg, dict(type=FrequencyGroupsHook.__name__))
    if args.out:
        add_output(cfg, args.out)
    prepare_launch(cfg, args.launcher)
    add_hook(cfg, dict(type=ProgressBarHook.__name__))
    return cfg


def add_output(cfg: Config, out: str) -> None:
    """Has the evaluator write every prediction when `out` is a pickle.

    Raises:
        ValueError: when the file name ends otherwise than .pkl, .pickle or .json.
        OutputError: when this tool may not write it.
    """
    suffix = Path(out).suffix
    if suffix not in ('.pkl', '.pickle', '.json'):
        raise ValueError(f'--out must end with .pkl, .pickle or .json, got {out!r}.')
    check_outputs([out], command='test')
    if suffix != '.json':
        evaluators = cfg.test_evaluator
        listed = list(evaluators) if isinstance(evaluators, (list, tuple)) else [evaluators]
        writer = dict(type=DumpPredictions.__name__, out_file_path=out)
        cfg.test_evaluator = [*listed, writer]


def main(argv: Sequence[str] | None = None) -> dict[str, float]:
    """Runs the evaluation that the command line describes and returns the metrics."""
    with closed_in_order():
        return run(parse_args(argv))


def run(args: argparse.Namespace) -> dict[str, float]:
    """Evaluates, prints the metrics and returns them."""
    with errors_as_message():
        cfg, remarks = configure(args), []
        if cfg.get('test_dataloader') is None:  # then a report was asked for
            print(f'No data to test on. Report: {write_training_report(cfg, cfg.work_dir)}')
            return {}
        if is_first_process(args.launcher):
            remarks = check_config_datasets(cfg, loaders=('test',))
        runner = build_runner(cfg, evaluation=True, verbose=args.verbose)
    runner.register_hook(LargeImagesHook())
    log_remarks(remarks, logger=runner.logger)
    with errors_as_message(DatasetError, OutputError, WeightsError):
        metrics = runner.test()
    if is_main_process():
        report(args, runner, metrics)
    return metrics


def report(args: argparse.Namespace, runner: Runner, metrics: dict[str, float]) -> None:
    """Prints the metrics, as a whole and by class, and where everything was written."""
    pages = [hook for hook in runner.hooks if isinstance(hook, ReportHook)]
    number = len(runner.test_dataloader.dataset)
    print(f'Metrics of {runner.cfg.load_from} on {number} image{"s" if number > 1 else ""}:')
    for line in [*metric_lines(metrics), *(line for page in pages for line in page.class_lines())]:
        print(f'  {line}')
    if args.out and args.out.endswith('.json'):
        with write_output(args.out, command='test') as partial:
            partial.write_text(json.dumps(metrics, indent=2, default=float) + '\n')
    print('Written:')
    written = {'log': runner.cfg.work_dir, 'results': args.out, 'pictures': args.show_dir}
    written['report'] = pages[0].files.page if pages else None
    for label, path in written.items():
        if path:
            print(f'  {label:<16} {path}')


if __name__ == '__main__':
    main()
