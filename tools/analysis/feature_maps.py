"""Draws the feature maps of a trained model, with and without its adapter, and their spectrum.

    python tools/analysis/feature_maps.py CONFIG CHECKPOINT photo.jpg --out-dir features
    python tools/analysis/feature_maps.py CONFIG CHECKPOINT *.jpg --baseline CONFIG CHECKPOINT

`maps.png` has the maps of the first image, one for each stride: their first three principal
components as red, green and blue. `spectrum.png` has the relative log amplitude of their Fourier
spectrum over frequency, the mean of all images. Without the adapter is the model's encoder alone,
its last map resized; or, with `--baseline`, another trained model.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

# A checkout that is not installed works too; an installed package goes first.
sys.path.append(str(Path(__file__).resolve().parents[2]))
sys.path.append(str(Path(__file__).resolve().parents[2] / 'ops'))

from vitadapter_cli import add_device_argument, config_parser, parse, refuse_slips

COMMAND = 'feature_maps'


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Reads the command line."""
    parser = config_parser("Draw a model's feature maps, with and without adapter.")
    parser.add_argument('checkpoint', help='checkpoint, or work directory (its best or last one)')
    parser.add_argument('images', nargs='+', help='image files; the maps are those of the first')
    parser.add_argument(
        '--baseline',
        nargs=2,
        metavar=('CONFIG', 'CHECKPOINT'),
        help="a model without adapter (default: the model's own encoder)",
    )
    parser.add_argument(
        '--out-dir',
        type=Path,
        default=Path('feature_maps'),
        help='folder of maps.png and spectrum.png (default: feature_maps)',
    )
    add_device_argument(parser)
    args = parse(parser, argv)
    missing = [image for image in args.images if not Path(image).is_file()]
    if missing:
        raise SystemExit(f'error: there is no image {missing[0]}')
    if args.baseline:
        config, checkpoint = args.baseline
        refuse_slips(argparse.Namespace(config=config, checkpoint=checkpoint))
    return args


if __name__ == '__main__':
    parse_args()  # what the command line shows to be wrong ends here, before the slow imports

from vitadapter_dense.command_line.arguments import errors_as_message, read_config
from vitadapter_dense.inference.feature_maps import draw_feature_maps
from vitadapter_dense.inference.predictor import Predictor
from vitadapter_dense.reports.output_files import check_outputs


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the tool; returns the exit status."""
    args = parse_args(argv)
    outputs = [args.out_dir / name for name in ('maps.png', 'spectrum.png')]
    with errors_as_message():
        check_outputs(outputs, command=COMMAND, inputs=args.images)
        model = Predictor(read_config(args), args.checkpoint, device=args.device)
        baseline = Predictor(*args.baseline, device=args.device) if args.baseline else None
        draw_feature_maps(model, args.images, *outputs, baseline=baseline, command=COMMAND)
    print(f'Written: {outputs[0]}, {outputs[1]}')
    return 0


if __name__ == '__main__':
    sys.exit(main())
