"""Writes samples of a configuration's data set as the model sees them, with their labels.

python tools/analysis/browse_dataset.py configs/coco/mask_rcnn_vitadapter_s.py --num 20
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

# A checkout that is not installed works too; an installed package goes first.
sys.path.append(str(Path(__file__).resolve().parents[2]))
sys.path.append(str(Path(__file__).resolve().parents[2] / 'ops'))

from vitadapter_cli import config_parser, parse, positive


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Reads the command line."""
    parser = config_parser('Write augmented samples of a data set as PNGs.')
    parser.add_argument(
        '--split', choices=('train', 'val', 'test'), default='train', help='default: train'
    )
    parser.add_argument('--num', type=positive, default=20, help='how many samples (default: 20)')
    parser.add_argument('--out-dir', default='browse', help='folder of the PNGs (default: browse)')
    parser.add_argument(
        '--seed', type=int, default=0, help='seed of the augmentations (default: 0)'
    )
    return parse(parser, argv)


if __name__ == '__main__':
    parse_args()  # what the command line shows to be wrong ends here, before the slow imports

import numpy as np
from mmengine.registry import DATASETS, VISUALIZERS, init_default_scope
from mmengine.runner import set_random_seed
from mmengine.structures import BaseDataElement
from torch import Tensor

from vitadapter_dense.command_line.arguments import errors_as_message, read_config
from vitadapter_dense.datasets.check_coco import check_dataset_config
from vitadapter_dense.reports.output_files import OutputError, check_outputs
from vitadapter_dense.reports.picture_files import check_picture_folder
from vitadapter_dense.reports.pictures import draw_sample
from vitadapter_dense.reports.progress import track

COMMAND = 'browse_dataset'


def to_rgb(inputs: Tensor) -> np.ndarray:
    """Turns a pipeline's image, (3, H, W) in BGR, into (H, W, 3) in RGB, 0 to 255."""
    # (3, H, W) -> (H, W, 3)
    image = inputs.permute(1, 2, 0).numpy()[..., ::-1]
    return np.ascontiguousarray(image.clip(0, 255).astype(np.uint8))


def plain_boxes(sample: BaseDataElement) -> BaseDataElement:
    """Replaces the toolbox's box objects by the tensors that its visualizer expects."""
    instances = sample.get('gt_instances')
    if instances is not None and hasattr(instances.get('bboxes'), 'tensor'):
        boxes = instances.bboxes.tensor
        del instances.bboxes
        instances.bboxes = boxes
    return sample


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the tool; returns the exit status."""
    args = parse_args(argv)
    with errors_as_message():
        cfg = read_config(args)
        loader = f'{args.split}_dataloader'
        if cfg.get(loader) is None:
            raise ValueError(f'{args.config} has no {loader}.')
        check_dataset_config(cfg[loader].dataset)
    init_default_scope(cfg.get('default_scope', 'mmengine'))
    set_random_seed(args.seed)
    dataset = DATASETS.build(cfg[loader].dataset)
    visualizer = VISUALIZERS.build(dict(cfg.visualizer, vis_backends=None, name='browse'))
    visualizer.dataset_meta = dataset.metainfo
    out_dir = Path(args.out_dir)
    indices = range(min(args.num, len(dataset)))
    with errors_as_message(OutputError):
        check_picture_folder(out_dir, dataset)
        check_outputs([out_dir / 'any.png'], command=COMMAND)
    for index in track(indices, 'samples'):
        item = dataset[index]
        sample = plain_boxes(item['data_samples'])
        with errors_as_message(OutputError):
            draw_sample(
                visualizer,
                to_rgb(item['inputs']),
                sample=sample,
                out_file=out_dir / f'{index:05d}_{Path(sample.img_path).stem}.png',
                command=COMMAND,
                prediction=False,
            )
    print(f'{len(indices)} of {len(dataset)} samples written to {out_dir}')
    return 0


if __name__ == '__main__':
    sys.exit(main())
