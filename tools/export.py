"""Exports a model to a file that needs no configuration, tries the file, and describes it.

    python tools/export.py CONFIG work_dirs/shapes/upernet_vitadapter_xs
    python tools/export.py CONFIG CHECKPOINT --format aoti --size 512x512 --images photos

Written are the file and `<file>.json`. Nothing is left where the file computes something
else than the model. docs/export.md says what runs it.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path

# A checkout that is not installed works too; an installed package goes first.
sys.path.append(str(Path(__file__).resolve().parents[1]))
sys.path.append(str(Path(__file__).resolve().parents[1] / 'ops'))

from vitadapter_cli import add_checkpoint_argument, config_parser, image_size, parse, positive

COMMAND = 'export'
SUFFIXES = {'onnx': '.onnx', 'pt2': '.pt2', 'aoti': '.aoti.pt2'}
IMAGE_SUFFIXES = ('.jpg', '.jpeg', '.png', '.bmp', '.tif', '.tiff', '.webp')


def size_of(text: str) -> tuple[int, int] | None:
    """HEIGHTxWIDTH, or `dynamic`."""
    return None if text == 'dynamic' else image_size(text)


def tolerance(text: str) -> float:
    """A share above zero."""
    value = float(text)
    if not 0 < value < 1:
        raise argparse.ArgumentTypeError(f'{text} is not between 0 and 1')
    return value


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Reads the command line."""
    parser = config_parser('Export a model.')
    add_checkpoint_argument(parser)
    parser.add_argument(
        '--format',
        choices=tuple(SUFFIXES),
        default='onnx',
        help='onnx: standard operators; pt2: torch.export; aoti: compiled (default: onnx)',
    )
    parser.add_argument(
        '--size',
        type=size_of,
        default=(),
        metavar='HxW',
        help='height and width that the file takes, as 512x768, or dynamic (default: the slide '
        "window's, else dynamic)",
    )
    parser.add_argument(
        '--gather',
        action='store_true',
        help='deformable attention by gathers, for TensorRT, in place of GridSample',
    )
    parser.add_argument('--out', type=Path, help='the file (default: <configuration>.onnx or .pt2)')
    parser.add_argument(
        '--images',
        type=Path,
        help="an image or a folder to try the file on (default: the test data's)",
    )
    parser.add_argument(
        '--max-images', type=positive, default=2, metavar='N', help='how many of them (default: 2)'
    )
    parser.add_argument(
        '--tolerance',
        type=tolerance,
        default=1e-3,
        help='largest deviation, of the largest logit (default: 0.001)',
    )
    args = parse(parser, argv)
    if args.gather and args.format != 'onnx':
        parser.error(f"--gather is for --format onnx: {args.format} keeps msda's operators")
    suffix = SUFFIXES[args.format]
    if args.out is None:
        args.out = Path(Path(args.config).stem + suffix)
    elif args.out.suffix != f'.{suffix.rpartition(".")[2]}':
        parser.error(f'--out {args.out}: the name must end with {suffix}')
    if args.images is not None and not args.images.exists():
        parser.error(f'--images {args.images}: there is no such file or folder')
    return args


if __name__ == '__main__':
    parse_args()  # what the command line shows to be wrong ends here, before the slow imports

from vitadapter_dense.command_line.arguments import errors_as_message, read_config
from vitadapter_dense.command_line.config import iter_datasets
from vitadapter_dense.command_line.run_files import find_checkpoint
from vitadapter_dense.export.description import description_path, window_of
from vitadapter_dense.export.exporter import export
from vitadapter_dense.inference.predictor import Predictor
from vitadapter_dense.reports.output_files import check_outputs


def images_of(given: Path | None, dataset: dict, count: int) -> list[Path]:
    """Images to try the file on, spread over those that there are.

    Raises:
        FileNotFoundError: there is none.
    """
    if given is not None and given.is_file():
        return [given]
    if given is None:
        prefix = dataset.get('data_prefix') or {}
        given = Path(
            dataset.get('data_root') or '', prefix.get('img') or prefix.get('img_path') or ''
        )
    found = sorted(file for file in given.glob('**/*') if file.suffix.lower() in IMAGE_SUFFIXES)
    if not found:
        raise FileNotFoundError(
            f'no images in {given}: name some that are like those of the task, --images FOLDER'
        )
    return found[:: max(len(found) // count, 1)][:count]


def main(argv: Sequence[str] | None = None) -> int:
    """Exports; returns the exit status."""
    args = parse_args(argv)
    started = time.perf_counter()
    with errors_as_message():
        outputs = [args.out, description_path(args.out)]
        check_outputs(outputs, command=COMMAND)
        cfg = read_config(args)
        args.checkpoint = find_checkpoint(args.checkpoint)
        dataset = next(iter_datasets(cfg.test_dataloader.dataset))
        images = images_of(args.images, dataset, args.max_images)
        predictor = Predictor(cfg, args.checkpoint, device='cpu')
        if args.size == ():
            window = window_of(predictor.model)
            args.size = tuple(window['size']) if window else None
        checks = export(
            predictor,
            args.out,
            kind=args.format,
            size=args.size,
            checkpoint=Path(args.checkpoint),
            images=images,
            gather=args.gather,
            tolerance=args.tolerance,
            command=COMMAND,
            say=lambda line: print(f'{time.perf_counter() - started:6.1f} s  {line}', flush=True),
        )
    for check in checks:
        print(f'  {check}')
    print(f'Written in {time.perf_counter() - started:.0f} s:')
    for path in outputs:
        print(f'  {path} ({path.stat().st_size / 1e6:.1f} MB)')
    return 0


if __name__ == '__main__':
    sys.exit(main())
