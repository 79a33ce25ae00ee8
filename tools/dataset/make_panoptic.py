"""Makes COCO's panoptic files from a file of instances, for data whose stuff nobody has labelled.

    python tools/dataset/make_panoptic.py data/coco/annotations/instances_val2017.json

Writes panoptic_val2017.json and the PNGs in panoptic_val2017/ beside it, or to --out. Pixels that
no object covers are void, or with --rest the stuff class that it names; the JSON says that it was
made. Files that people have labelled are not written over.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

# A checkout that is not installed works too; an installed package goes first.
sys.path.append(str(Path(__file__).resolve().parents[2]))
sys.path.append(str(Path(__file__).resolve().parents[2] / 'ops'))

from vitadapter_cli import parse

COMMAND = 'make_panoptic'


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Reads the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('instances', type=Path, help='JSON file of COCO instances, with masks')
    parser.add_argument(
        '--out', type=Path, metavar='FOLDER', help='for the files (default: beside the instances)'
    )
    parser.add_argument(
        '--stuff',
        nargs='+',
        default=[],
        metavar='NAME',
        help='stuff classes; `coco` stands for the 53 of COCO, whose configs need them all',
    )
    parser.add_argument(
        '--rest', metavar='NAME', help='the stuff class of pixels without an object (default: void)'
    )
    parser.add_argument(
        '--labels',
        type=Path,
        metavar='FOLDER',
        help="also write maps of category ids less one there, as COCO's stuffthingmaps",
    )
    return parse(parser, argv)


if __name__ == '__main__':
    parse_args()  # what the command line shows to be wrong ends here, before the slow imports

from vitadapter_dense.command_line.arguments import errors_as_message
from vitadapter_dense.command_line.progress_line import ProgressLine
from vitadapter_dense.datasets.panoptic_from_instances import make_panoptic


def stuff_names(asked: Sequence[str]) -> list[str]:
    """The names of the stuff classes."""
    if list(asked) != ['coco']:
        return list(asked)
    from mmdet.datasets import CocoPanopticDataset

    return list(CocoPanopticDataset.METAINFO['stuff_classes'])


def main(argv: Sequence[str] | None = None) -> None:
    """Writes the files, and says where they are."""
    args = parse_args(argv)
    name = args.instances.stem
    name = name.replace('instances', 'panoptic') if 'instances' in name else f'panoptic_{name}'
    folder = args.out or args.instances.parent
    with errors_as_message():
        make_panoptic(
            args.instances,
            folder / f'{name}.json',
            folder / name,
            stuff=stuff_names(args.stuff),
            rest=args.rest,
            label_dir=args.labels,
            progress=ProgressLine(),
        )
    print(f'Made from instances: {folder / name}.json, maps in {folder / name}')
    if args.labels:
        print(f'Maps of things and stuff in {args.labels}')


if __name__ == '__main__':
    main()
