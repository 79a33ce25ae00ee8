"""Writes a config for a folder of your own data, checks the data, and says how to go on.

    python tools/dataset/new_config.py --data data/mine --task detection

Finds COCO, YOLO, Pascal VOC, images with label maps, and images in a folder a class. What cannot be
used directly is converted into a folder of its own beside the data, which stay as they are; where
there is no validation set, one is split off. Docs: docs/custom_dataset.md.
"""

from __future__ import annotations

import argparse
import os
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

TOOLS = Path(__file__).resolve().parents[1]
# A checkout that is not installed works too; an installed package goes first.
sys.path.append(str(TOOLS.parent))
sys.path.append(str(TOOLS.parent / 'ops'))
sys.path.append(str(TOOLS / 'dataset'))

from vitadapter_cli import default_work_dir, not_negative, parse, positive, share

COMMAND = 'new_config'


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Reads the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        '--data', type=Path, required=True, metavar='DIR', help='folder of the data'
    )
    parser.add_argument(
        '--task',
        required=True,
        choices=('detection', 'instance', 'segmentation', 'classification'),
        help='boxes; boxes and masks; a class for every pixel; a class for every image',
    )
    parser.add_argument(
        '--out', type=Path, metavar='FILE', help='config (default: configs/mine/<folder>_<task>.py)'
    )
    parser.add_argument(
        '--layout',
        choices=('coco', 'yolo', 'voc', 'maps', 'folders'),
        help='format of the labels (default: the one that is there)',
    )
    parser.add_argument(
        '--classes',
        nargs='+',
        default=(),
        metavar='NAME',
        help="names, in their numbers' order",
    )
    parser.add_argument(
        '--annotations',
        nargs='+',
        type=Path,
        default=(),
        metavar='JSON',
        help='COCO files to take: of training, and perhaps of validation',
    )
    parser.add_argument(
        '--reduce-zero-label',
        action='store_true',
        help='in label maps 0 is no class: ignored, and 1 is the first class',
    )
    parser.add_argument(
        '--val-share',
        type=share,
        default=0.2,
        metavar='SHARE',
        help='of a validation set that is split off (default: 0.2)',
    )
    parser.add_argument('--seed', type=not_negative, default=0, help='of that split (default: 0)')
    parser.add_argument(
        '--converted',
        type=Path,
        metavar='FOLDER',
        help='where conversions go (default: converted_<task> in the folder of the data)',
    )
    parser.add_argument(
        '--workers',
        type=positive,
        default=min(8, os.cpu_count() or 1),
        help='reading processes (default: %(default)s)',
    )
    args = parse(parser, argv)
    if not args.data.is_dir():
        parser.error(f'there is no folder {args.data}: name the one that holds the data')
    absent = [str(path) for path in args.annotations if not path.is_file()]
    if absent:
        parser.error(f'there is no file {", ".join(absent)}')
    if args.out and args.out.suffix != '.py':
        parser.error(f'--out {args.out} must end with .py, as a config does')
    if len(args.annotations) > 2:
        parser.error('--annotations takes one file or two: of training and of validation')
    return args


if __name__ == '__main__':
    parse_args()  # what the command line shows to be wrong ends here, before the slow imports

from check_dataset import main as check_dataset

from vitadapter_dense.command_line.arguments import errors_as_message
from vitadapter_dense.command_line.console import quiet_imports
from vitadapter_dense.command_line.machine import this_machine
from vitadapter_dense.command_line.own_config import config_text, default_config
from vitadapter_dense.command_line.run_files import last_checkpoint
from vitadapter_dense.command_line.run_size import fit_run
from vitadapter_dense.datasets.own_data import prepare
from vitadapter_dense.datasets.own_request import Request
from vitadapter_dense.reports.output_files import check_outputs, write_output
from vitadapter_dense.reports.run_logs import scalar_files


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the tool; returns the exit status."""
    args = parse_args(argv)
    quiet_imports()
    with errors_as_message():
        out = args.out or default_config(args.data, args.task)
        request = request_of(args, trained=has_run(default_work_dir(out)))
        check_outputs([out], command=COMMAND)
        data = prepare(request)
        machine = this_machine()
        size = fit_run(args.task, images=data.counts[0], sizes=data.sizes, machine=machine)
        text = config_text(request, data, size, out)
        if not (out.is_file() and out.read_text(encoding='utf-8') == text):
            refuse_run_of_another(default_work_dir(out), out)
            with write_output(out, command=COMMAND) as partial:
                partial.write_text(text, encoding='utf-8')
    print(f'found: {data.layout}, {data.counts[0]} + {data.counts[1]} images')
    for remark in data.remarks:
        print(f'  {remark}')
    length = (
        f'{size.iterations} iterations' if args.task == 'segmentation' else f'{size.epochs} epochs'
    )
    print(
        f'config: {out}\n  {len(data.classes)} classes, model {size.model.upper()}, images of '
        f'{size.side} pixels, batch {size.batch}, {length} ({machine})'
    )
    status = check_dataset([str(out), '--workers', str(args.workers)])
    if status:
        print(f'Mend the data, and run this again: {out} stays.')
        return status
    print('\nGo on with:')
    for words in commands(out, data.example):
        print(f'  {shlex.join(words)}')
    return 0


def request_of(args: argparse.Namespace, *, trained: bool) -> Request:
    """What the command line says of the data; what a training has read is not made anew."""
    return Request(
        root=args.data,
        task=args.task,
        layout=args.layout,
        classes=tuple(args.classes),
        annotations=tuple(args.annotations),
        reduce_zero_label=args.reduce_zero_label,
        val_share=args.val_share,
        seed=args.seed,
        converted=args.converted,
        replace=not trained,
        workers=args.workers,
    )


def has_run(work_dir: Path) -> bool:
    """Whether a training has left something in a work directory."""
    return bool(last_checkpoint(work_dir) or scalar_files(work_dir))


def refuse_run_of_another(work_dir: Path, out: Path) -> None:
    """Raises where a training of what is not this config lies in its work directory."""
    if has_run(work_dir):
        raise ValueError(
            f'{work_dir}, where trainings of {out} go, holds a run of another config or other '
            'data. Nothing was written. Mend: another name, --out FILE, or move that folder away'
        )


def commands(config: Path, example: Path) -> list[list[str]]:
    """How to train, to test, and to look at an image, from the folder where one is."""
    near = Path.cwd() == TOOLS.parent
    tools = Path('tools') if near else TOOLS
    work_dir = str(default_work_dir(config))
    trained = str(Path(work_dir) / config.name)  # with all that the command line changed
    return [
        ['python', str(tools / 'train.py'), str(config)],
        ['python', str(tools / 'test.py'), trained, work_dir, '--show-dir'],
        ['python', str(tools / 'demo' / 'image_demo.py'), str(example), work_dir],
    ]


if __name__ == '__main__':
    sys.exit(main())
