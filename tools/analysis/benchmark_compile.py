"""Times the backbone of a configuration as it is and through `torch.compile`, forward alone.

    python tools/analysis/benchmark_compile.py configs/ade20k/upernet_vitadapter_s.py
    python tools/analysis/benchmark_compile.py configs/coco/mask_rcnn_vitadapter_s.py --shape 800

Compiled with the default backend and `fullgraph=True`, which raises at the first graph break. The
weights are random (their numbers cost the same), none of them zero. `deviation` is the largest
difference between the two outputs, relative to the largest number of the map, and the exit status
is 1 if it is above `--tolerance`. Times are medians over repeats in which both take turns. On the
CPU the default backend needs a C++ compiler.
"""

from __future__ import annotations

import argparse
import copy
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

# A checkout that is not installed works too; an installed package goes first.
sys.path.append(str(Path(__file__).resolve().parents[2]))
sys.path.append(str(Path(__file__).resolve().parents[2] / 'ops'))

from vitadapter_cli import add_device_argument, config_parser, parse, positive


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Reads the command line."""
    parser = config_parser('Time a backbone with and without torch.compile.')
    parser.add_argument(
        '--shape',
        type=positive,
        nargs='+',
        default=[512],
        metavar='SIDE',
        help='H W, or one side (default: 512)',
    )
    parser.add_argument('--batch', type=positive, default=1, help='images (default: 1)')
    parser.add_argument('--repeats', type=positive, default=20, help='of each (default: 20)')
    parser.add_argument('--threads', type=positive, help="default: torch's own choice")
    add_device_argument(parser)
    parser.add_argument('--tolerance', type=float, default=1e-4, help='default: 1e-4')
    args = parse(parser, argv)
    if len(args.shape) > 2:
        parser.error(f'--shape takes one or two sides, got {args.shape}')
    return args


if __name__ == '__main__':
    parse_args()  # what the command line shows to be wrong ends here, before the slow imports

import torch
from mmengine.config import Config
from mmengine.registry import MODELS, init_default_scope
from torch import Tensor, nn

from vitadapter_dense.command_line.arguments import errors_as_message, read_config
from vitadapter_dense.inference.devices import checked_device


def random_backbone(cfg: Config, device: str) -> nn.Module:
    """The backbone in eval mode, every weight that starts at zero (injectors, biases) moved."""
    init_default_scope(cfg.get('default_scope', 'mmengine'))
    backbone = MODELS.build(copy.deepcopy(cfg.model.backbone))
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in backbone.parameters():
            if not parameter.any():
                parameter.copy_(0.1 * torch.randn(parameter.shape, generator=generator))
    return backbone.eval().to(device)


def seconds(function: Callable[[], Any], device: str) -> float:
    """Wall-clock time of one call, until the device is done."""
    start = time.perf_counter()
    function()
    if device != 'cpu':
        torch.accelerator.synchronize()
    return time.perf_counter() - start


def take_turns(
    functions: Sequence[Callable[[], Any]], repeats: int, device: str
) -> list[list[float]]:
    """Times in milliseconds, one list a function; who begins changes from repeat to repeat."""
    times: list[list[float]] = [[] for _ in functions]
    for repeat in range(repeats):
        for turn in range(len(functions)):
            index = (repeat + turn) % len(functions)
            times[index].append(seconds(functions[index], device) * 1e3)
    return times


def largest_deviation(outputs: Sequence[Tensor], references: Sequence[Tensor]) -> float:
    """Largest difference of any map, relative to that map's largest number."""
    return max(
        ((output - reference).abs().max() / reference.abs().max()).item()
        for output, reference in zip(outputs, references, strict=True)
    )


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the tool; returns the exit status: 1 if the outputs differ."""
    args = parse_args(argv)
    if args.threads:
        torch.set_num_threads(args.threads)
    height, width = args.shape[0], args.shape[-1]
    with errors_as_message():
        device = str(checked_device(args.device))
        backbone = random_backbone(read_config(args), device)
    torch.manual_seed(0)
    images = torch.randn(args.batch, 3, height, width).to(device)
    compiled = torch.compile(backbone, fullgraph=True)
    with torch.inference_mode():
        start = time.perf_counter()
        outputs = compiled(images)
        compiling = time.perf_counter() - start
        deviation = largest_deviation(outputs, backbone(images))
        runs = [lambda: backbone(images), lambda: compiled(images)]
        take_turns(runs, 2, device)  # to warm up
        times = take_turns(runs, args.repeats, device)
    eager, faster = (statistics.median(column) for column in times)
    print(f'backbone of {args.config}, forward, {torch.get_num_threads()} threads, {device}')
    print('images | eager (ms) | compiled (ms) | eager / compiled | deviation | to compile (s)')
    print(
        f'{args.batch} x {height} x {width} | {eager:.1f} | {faster:.1f} | {eager / faster:.2f} | '
        f'{deviation:.1e} | {compiling:.0f}'
    )
    return int(not deviation <= args.tolerance)


if __name__ == '__main__':
    sys.exit(main())
