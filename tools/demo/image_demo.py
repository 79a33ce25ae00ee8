"""Draws predictions on images: a file, a folder or a pattern in, annotated PNGs out.

    python tools/demo/image_demo.py photo.jpg work_dirs/coco/mask_rcnn_vitadapter_s --out-dir drawn
    python tools/demo/image_demo.py photo.jpg coco/mask_rcnn_vitadapter_s
    python tools/demo/image_demo.py photos more/*.png CONFIG CHECKPOINT

Works with any configuration whose test pipeline reads images from files, detection and segmentation
alike. An image that cannot be read is named and left out; the exit status is then 1. No file is
written over but the pictures of an earlier run.
"""

from __future__ import annotations

import argparse
import glob
import sys
from collections.abc import Sequence
from pathlib import Path

# A checkout that is not installed works too; an installed package goes first.
sys.path.append(str(Path(__file__).resolve().parents[2]))
sys.path.append(str(Path(__file__).resolve().parents[2] / 'ops'))

from vitadapter_cli import OptionAction, add_device_argument, refuse_slips, share

COMMAND = 'image_demo'
CONFIG_SUFFIXES = ('.py', '.json', '.yaml', '.yml')
IMAGE_SUFFIXES = ('.jpg', '.jpeg', '.png', '.bmp', '.tif', '.tiff', '.webp')


def find_images(source: str) -> list[Path]:
    """Lists the images that a file name, a folder or a pattern stands for, sorted.

    Raises:
        FileNotFoundError: when there is none.
    """
    path = Path(source)
    if path.is_file():
        return [path]
    if path.is_dir():
        files = (file for file in path.iterdir() if not file.name.startswith('.'))
        found = [file for file in files if file.suffix.lower() in IMAGE_SUFFIXES]
        kinds = ' '.join(IMAGE_SUFFIXES)
        mend = f'The folder {path} holds no image ({kinds}).'
    else:
        found = [Path(file) for file in glob.glob(source, recursive=True) if Path(file).is_file()]
        mend = f'Nothing matches {source!r}: give an image, a folder or a quoted pattern.'
    if not found:
        raise FileNotFoundError(mend)
    return sorted(found)


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Reads the command line."""
    parser = argparse.ArgumentParser(description='Draw predictions on images.')
    parser.add_argument(
        'images', nargs='+', help='image files, folders, or patterns, quoted or not; then the model'
    )
    parser.add_argument(
        'model', help="work directory, released model's name, or configuration file and checkpoint"
    )
    parser.add_argument(
        '--out-dir', default='demo_out', help='folder of the PNGs (replaces those of earlier runs)'
    )
    parser.add_argument(
        '--score-thr', type=share, default=0.3, help='lowest score that is drawn (default: 0.3)'
    )
    add_device_argument(parser)
    parser.add_argument('--cfg-options', nargs='+', action=OptionAction, metavar='KEY=VALUE')
    args = parser.parse_args(argv)
    if Path(args.images[-1]).suffix in CONFIG_SUFFIXES:
        args.config, args.checkpoint = args.images.pop(), args.model
    else:
        args.config, args.checkpoint = None, args.model
    if not args.images:
        parser.error('no images: give files, folders or patterns before the model')
    args.data_root = None
    refuse_slips(args)
    try:
        for source in args.images:
            find_images(source)
    except FileNotFoundError as error:
        raise SystemExit(f'error: {error}') from None
    return args


if __name__ == '__main__':
    parse_args()  # what the command line shows to be wrong ends here, before the slow imports

from vitadapter_dense.command_line.arguments import errors_as_message, read_config
from vitadapter_dense.command_line.work_dirs import config_of
from vitadapter_dense.inference.predictor import Predictor
from vitadapter_dense.reports.output_files import check_outputs, is_made_by
from vitadapter_dense.reports.picture_files import picture_names
from vitadapter_dense.reports.progress import track


def without_own(images: Sequence[Path], out_dir: Path) -> list[Path]:
    """Leaves out what this tool wrote to the folder of its pictures.

    Raises:
        FileNotFoundError: when nothing else is there.
    """
    place = out_dir.resolve()
    inside = [image for image in images if place in image.resolve().parents]
    own = {image for image in inside if is_made_by(image, COMMAND)}
    kept = [image for image in images if image not in own]
    if not kept:
        raise FileNotFoundError(f'All {len(own)} images are pictures that this tool drew.')
    if own:
        print(f'left out, drawn by an earlier run: {len(own)} pictures in {out_dir}')
    return kept


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the demo; returns the exit status."""
    args = parse_args(argv)
    with errors_as_message():
        out_dir = Path(args.out_dir)
        images = []
        for source in args.images:
            found = find_images(source)
            images += found if Path(source).is_file() else without_own(found, out_dir)
        images = list(dict.fromkeys(images))
        names = picture_names(images)
        check_outputs((out_dir / name for name in names), command=COMMAND, inputs=images)
        if args.config is None:
            args.config = config_of(args.model)
        predictor = Predictor(read_config(args), args.checkpoint, device=args.device)
    unreadable = []
    for image, name in track(list(zip(images, names, strict=True)), 'images'):
        try:
            array = predictor.read(image)
        except Exception as error:
            unreadable.append(f'{image} ({error})')
            continue
        found = predictor(array)
        found.save(out_dir / name, score_thr=args.score_thr, command=COMMAND)
    print(f'{len(images) - len(unreadable)} of {len(images)} pictures written to {out_dir}')
    for line in unreadable:
        print(f'not readable, left out: {line}', file=sys.stderr)
    return 1 if unreadable else 0


if __name__ == '__main__':
    sys.exit(main())
