"""Draws what a classifier's head reads of images, before and after tuning, by t-SNE.

    python tools/analysis/tsne.py configs/shapes/classifier_r18_xs.py WORK_DIR

One picture, coloured by class: on the left the model as its training began (pre-trained weights, a
method's own modules as they start), on the right the checkpoint. Above each stands how many images
have neighbours of their class. Needs scikit-learn: pip install '.[analysis]'.
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
    add_device_argument,
    config_parser,
    not_negative,
    parse,
    positive,
)

COMMAND = 'tsne'


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Reads the command line."""
    parser = config_parser('Draw what a classifier reads of images, before and after tuning.')
    add_checkpoint_argument(parser)
    parser.add_argument('--out', type=Path, help='PNG to write (default: <work dir>/tsne.png)')
    parser.add_argument(
        '--images', type=positive, default=1000, help='test images at most (default: 1000)'
    )
    parser.add_argument('--seed', type=not_negative, default=0, help='of the draw (default: 0)')
    add_device_argument(parser)
    return parse(parser, argv)


if __name__ == '__main__':
    parse_args()  # what the command line shows to be wrong ends here, before the slow imports

from mmengine.config import Config

from vitadapter_dense.checkpoints.checked_loading import WeightsError
from vitadapter_dense.command_line.arguments import errors_as_message, read_config
from vitadapter_dense.command_line.config import set_work_dir
from vitadapter_dense.command_line.run_files import find_checkpoint
from vitadapter_dense.datasets.check_coco import check_config_datasets
from vitadapter_dense.datasets.errors import DatasetError
from vitadapter_dense.inference.predictor import Predictor
from vitadapter_dense.inference.read_outs import build_images, read_outs, starting_model
from vitadapter_dense.reports.embedding import (
    NEIGHBOURS,
    embedding_figure,
    neighbour_accuracy,
    project,
    require_scikit_learn,
)
from vitadapter_dense.reports.output_files import OutputError, write_output
from vitadapter_dense.reports.plots import check_plot


def configure(args: argparse.Namespace) -> Config:
    """Reads the configuration.

    Raises:
        ValueError: scikit-learn is missing, or it is no classifier's.
    """
    require_scikit_learn()
    cfg = read_config(args)
    if cfg.get('default_scope') != 'mmpretrain' or cfg.get('test_dataloader') is None:
        raise ValueError(f'{args.config} is not the configuration of a classifier with test data.')
    source = Path(args.checkpoint)
    set_work_dir(cfg, args.config, work_dir=source if source.is_dir() else None)
    args.checkpoint = find_checkpoint(source)
    args.out = args.out or Path(cfg.work_dir) / 'tsne.png'
    check_plot(args.out, command=COMMAND)
    check_config_datasets(cfg, loaders=('test',))
    return cfg


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the tool; returns the exit status."""
    args = parse_args(argv)
    with errors_as_message(OSError, ValueError, WeightsError, DatasetError, OutputError):
        cfg = configure(args)
        tuned = Predictor(cfg, args.checkpoint, device=args.device)
        models = dict(before=starting_model(cfg, seed=args.seed), after=tuned.model)
        loader = build_images(cfg, most=args.images, seed=args.seed)
        panels = {}
        for when, model in models.items():
            vectors, labels = read_outs(model, loader, device=tuned.device, what=when)
            share = neighbour_accuracy(vectors, labels)
            title = f'{when} tuning: {share:.1%} by {NEIGHBOURS} nearest neighbours'
            panels[title] = project(vectors, seed=args.seed)
        with write_output(args.out, command=COMMAND) as partial:
            embedding_figure(panels, labels, tuned.names).savefig(partial, dpi=110)
    print('\n'.join(panels))
    print(f'Written: {args.out}')
    return 0


if __name__ == '__main__':
    sys.exit(main())
