"""Times a configuration's model, or its backbone: eager, compiled and exported, in one run.

    python tools/analysis/benchmark.py configs/ade20k/upernet_vitadapter_s.py
    python tools/analysis/benchmark.py configs/coco/mask_rcnn_vitadapter_s.py --part backbone \
        --size 512x512 800x1344 --batch 1 4 --dtype float32 bfloat16 --csv speed.csv

The weights are random (their numbers cost the same). What is timed is what an exported file
computes: normalised images in, a segmentor's logits out (of one window where it slides), or a
detector's objects with masks in their boxes. Each form has a process of its own; after a warm-up
they take turns, and so do four images. Exported are float32 alone. `deviation` is the largest
difference from the eager outputs, relative to the largest number; the exit status is 1 if it is
above `--tolerance` in float32. `peak` has weights in it but not the libraries, and for the
compiled form what its compiler left behind. docs/export.md has more.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Iterator, Sequence
from itertools import product
from pathlib import Path

# A checkout that is not installed works too; an installed package goes first.
sys.path.append(str(Path(__file__).resolve().parents[2]))
sys.path.append(str(Path(__file__).resolve().parents[2] / 'ops'))

from vitadapter_cli import add_device_argument, config_parser, image_size, parse, positive

COMMAND = 'benchmark'
OTHERS = {  # than eager
    'compiled': 'torch.compile',
    'aoti': 'AOTInductor',
    'onnx': 'onnxruntime',
    'gather': 'onnxruntime, deformable attention by gathers',
}


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Reads the command line."""
    parser = config_parser('Time a model: eager, compiled and exported.')
    parser.add_argument(
        '--forms',
        nargs='+',
        choices=tuple(OTHERS),
        help='beside eager (default: those of compiled, aoti and onnx that can be had here); '
        + '; '.join(f'{form}: {what}' for form, what in OTHERS.items()),
    )
    parser.add_argument(
        '--part', choices=('model', 'backbone'), default='model', help='default: model'
    )
    parser.add_argument(
        '--size',
        type=image_size,
        nargs='+',
        default=[(512, 512)],
        metavar='HxW',
        help='heights and widths (default: 512x512)',
    )
    parser.add_argument('--batch', type=positive, nargs='+', default=[1], help='default: 1')
    parser.add_argument(
        '--dtype',
        nargs='+',
        choices=('float32', 'bfloat16', 'float16'),
        default=['float32'],
        help='what layers compute in; exported ones in float32 alone (default: float32)',
    )
    parser.add_argument('--repeats', type=positive, default=20, help='of each (default: 20)')
    parser.add_argument('--threads', type=positive, help="default: torch's own choice")
    add_device_argument(parser)
    parser.add_argument('--tolerance', type=float, default=1e-3, help='default: 0.001')
    parser.add_argument('--csv', type=Path, help='write the table here, with all digits')
    parser.add_argument('--chart', type=Path, help='draw images a second here, as bars')
    return parse(parser, argv)


if __name__ == '__main__':
    parse_args()  # what the command line shows to be wrong ends here, before the slow imports

import numpy as np
import torch

from vitadapter_dense.command_line.arguments import errors_as_message, read_config
from vitadapter_dense.export.forms import NARROW, Case, Form, check_form
from vitadapter_dense.export.programs import ExportError
from vitadapter_dense.export.turns import Timing, time_forms
from vitadapter_dense.inference.devices import checked_device, checked_precision
from vitadapter_dense.reports.output_files import check_outputs
from vitadapter_dense.reports.plots import check_plot
from vitadapter_dense.reports.speeds import Speed, draw_speeds, speed_table, write_speeds


def forms_here(chosen: Sequence[Form] | None, device: str) -> list[Form]:
    """Eager, and those that were chosen; else the others that can be had, and says which cannot.

    Raises:
        ExportError: one was chosen that cannot be had.
    """
    forms: list[Form] = ['eager']
    for form in dict.fromkeys(chosen or ('compiled', 'aoti', 'onnx')):
        try:
            check_form(form, device)
        except ExportError as error:
            if chosen:
                raise
            print(f'{form} is left out: {error}')
            continue
        forms.append(form)
    return forms


def speeds_of(case: Case, timings: dict[Form, Timing]) -> Iterator[Speed]:
    """The figures of a case, relative to its first form."""
    first = None
    for form, timing in timings.items():
        median, most = np.quantile(timing.seconds, [0.5, 0.9]).tolist()
        first = first or median
        yield Speed(
            form=form,
            images=str(case),
            images_per_second=case.batch * len(timing.seconds) / sum(timing.seconds),
            median_ms=1e3 * median,
            p90_ms=1e3 * most,
            times_as_fast=first / median,
            peak_mb=None if timing.peak is None else timing.peak / 1e6,
            deviation=None if form == 'eager' else timing.deviation,
            to_make_s=timing.made_in or None,
        )


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the tool; returns the exit status: 1 if outputs differ."""
    args = parse_args(argv)
    speeds: list[Speed] = []
    with errors_as_message(), tempfile.TemporaryDirectory() as folder:
        check_outputs(filter(None, [args.csv]), command=COMMAND)
        if args.chart:
            check_plot(args.chart, command=COMMAND)
        read_config(args)
        device = checked_device(args.device)
        for dtype in args.dtype:
            checked_precision(dtype, device)
        forms = forms_here(args.forms, str(device))
        about = dict(
            config=Path(args.config).stem,
            part=args.part,
            device=str(device),
            threads=args.threads or torch.get_num_threads(),
            torch=torch.__version__,
        )
        for number, (size, batch, dtype) in enumerate(product(args.size, args.batch, args.dtype)):
            case = Case(
                args.config,
                args.cfg_options or {},
                part=args.part,
                size=size,
                batch=batch,
                dtype=dtype,
                device=str(device),
                threads=about['threads'],
            )
            place = Path(folder, str(number))
            place.mkdir()
            timings = time_forms(
                case,
                [form for form in forms if dtype == 'float32' or form in NARROW],
                repeats=args.repeats,
                folder=place,
                say=lambda line: print(line, flush=True),
            )
            speeds += speeds_of(case, timings)
            for form, timing in timings.items():
                if timing.breaks:
                    print(f'{form}: {timing.breaks} breaks; what lies there is not compiled')
        title = '{part} of {config}, {device}, {threads} threads, torch {torch}'.format(**about)
        print('\n'.join([title, *speed_table(speeds)]))
        if args.csv:
            write_speeds(speeds, about, args.csv, command=COMMAND)
        if args.chart:
            draw_speeds(speeds, title, args.chart, command=COMMAND)
    wrong = [
        each
        for each in speeds
        if each.deviation is not None
        and 'float32' in each.images
        and not each.deviation <= args.tolerance
    ]
    for each in wrong:
        print(f'{each.form}, {each.images}: other outputs than eager, by {each.deviation:.1e}')
    return int(bool(wrong))


if __name__ == '__main__':
    sys.exit(main())
