"""Generate the shapes data set (COCO instances and semantic maps) and a page of samples.

    python tools/dataset/make_shapes.py            # data/shapes: 3000 + 300 images of 192 x 192
    python tools/dataset/make_shapes.py OUT --num-train 500 --num-val 50 --size 256 320

The same parameters give the same bytes. A finished set is left alone, a killed run is completed by
the same command.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from pathlib import Path

# A checkout that is not installed works too; an installed package goes first.
sys.path.append(str(Path(__file__).resolve().parents[2]))
sys.path.append(str(Path(__file__).resolve().parents[2] / 'ops'))

from vitadapter_cli import not_negative, parse, positive

COMMAND = 'make_shapes'


def _usable_cores() -> int:
    if hasattr(os, 'sched_getaffinity'):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('out', nargs='?', default='data/shapes', help='folder (data/shapes)')
    parser.add_argument(
        '--num-train', type=not_negative, default=3000, help='training images (3000)'
    )
    parser.add_argument('--num-val', type=not_negative, default=300, help='validation images (300)')
    parser.add_argument(
        '--size',
        type=positive,
        nargs='+',
        default=[192],
        metavar='PIXELS',
        help='side of the images, or height and width (192)',
    )
    parser.add_argument('--seed', type=int, default=0, help='other seeds, other images (0)')
    parser.add_argument(
        '--workers',
        type=positive,
        default=_usable_cores(),
        help='processes; the images do not depend on it (all usable cores, here %(default)s)',
    )
    parser.add_argument(
        '--overwrite', action='store_true', help='replace a set made with other parameters'
    )
    parser.add_argument(
        '--page', default=None, metavar='PNG', help='page of samples (OUT/samples.png)'
    )
    args = parse(parser, argv)
    if len(args.size) > 2:
        parser.error(f'--size takes one or two numbers, got {args.size}')
    return args


if __name__ == '__main__':
    parse_args()  # what the command line shows to be wrong ends here, before the slow imports

import cv2

from vitadapter_dense.command_line.progress_line import ProgressLine
from vitadapter_dense.datasets.errors import DatasetError
from vitadapter_dense.datasets.shapes import generate_shapes
from vitadapter_dense.datasets.shapes_page import draw_sample_page
from vitadapter_dense.reports.output_files import check_outputs, write_output


def main(argv: list[str] | None = None) -> None:
    """Generate what is missing, draw the page, and say what was done."""
    args = parse_args(argv)
    size = args.size[0] if len(args.size) == 1 else tuple(args.size)
    page = Path(args.page) if args.page else Path(args.out) / 'samples.png'
    start = time.monotonic()
    try:
        if args.page:
            check_outputs([page], command=COMMAND)
        written = generate_shapes(
            args.out,
            num_train=args.num_train,
            num_val=args.num_val,
            size=size,
            seed=args.seed,
            workers=args.workers,
            overwrite=args.overwrite,
            progress=ProgressLine(),
        )
        if written or not page.is_file():
            with write_output(page, command=COMMAND) as partial:
                if not cv2.imwrite(str(partial), draw_sample_page(args.out)):
                    raise DatasetError(f'cannot write {page}: is it a file name that ends in .png?')
    except (DatasetError, OSError, cv2.error) as error:
        sys.exit(f'error: {error}')
    took = f'written in {time.monotonic() - start:.1f} s' if written else 'complete already'
    print(f'{args.out}: {args.num_train} + {args.num_val} images, {took}; samples in {page}')


if __name__ == '__main__':
    main()
