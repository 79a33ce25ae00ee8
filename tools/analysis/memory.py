"""Memory of configurations' backbones: weights, training, and the peak of one training step.

    python tools/analysis/memory.py configs/ade20k/mask2former_vitadapter_{b,7b}_dinov3_frozen.py

What is stored is counted on the meta device; the step (forward, backward, AdamW) runs where what is
stored takes less than half of the memory that is free. Each configuration has a process of its own.
"""

from __future__ import annotations

import argparse
import multiprocessing
import sys
from collections.abc import Sequence
from pathlib import Path

# A checkout that is not installed works too; an installed package goes first.
sys.path.append(str(Path(__file__).resolve().parents[2]))
sys.path.append(str(Path(__file__).resolve().parents[2] / 'ops'))

from vitadapter_cli import OptionAction, add_device_argument, config_path, parse, positive


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Reads the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('configs', nargs='+', help="configuration files; the project's own too")
    parser.add_argument('--side', type=positive, default=512, help='of the image (default: 512)')
    parser.add_argument('--batch', type=positive, default=1, help='images (default: 1)')
    add_device_argument(parser)
    parser.add_argument('--cfg-options', nargs='+', action=OptionAction, metavar='KEY=VALUE')
    args = parse(parser, argv)
    try:
        args.configs = [str(config_path(name)) for name in args.configs]
    except FileNotFoundError as error:
        raise SystemExit(f'error: {error}') from None
    return args


if __name__ == '__main__':
    parse_args()  # what the command line shows to be wrong ends here, before the slow imports

import psutil
import torch
from mmengine.registry import MODELS, init_default_scope

from vitadapter_cli import load_config
from vitadapter_dense.command_line.arguments import errors_as_message
from vitadapter_dense.command_line.console import quiet_imports
from vitadapter_dense.inference.devices import checked_device
from vitadapter_dense.inference.predictor import build_model_on_meta
from vitadapter_dense.reports.memory import Stored, peak_of, stored, training_step

GB = 1e9


def free_bytes(device: torch.device) -> int:
    """Memory that can be had."""
    if device.type == 'cuda':
        return torch.cuda.mem_get_info(device)[0]
    return psutil.virtual_memory().available


def measure(args: argparse.Namespace, config: str) -> tuple[Stored, int | None]:
    """What the backbone of a configuration stores, and the peak of a step where that fits."""
    quiet_imports()
    cfg, device = load_config(config, options=args.cfg_options), checked_device(args.device)
    held = stored(build_model_on_meta(cfg).backbone)
    if held.total > free_bytes(device) / 2:
        return held, None
    libraries = 0 if device.type == 'cuda' else psutil.Process().memory_info().rss
    init_default_scope(cfg.get('default_scope', 'mmengine'))
    backbone = MODELS.build(cfg.model.backbone).to(device).train()
    images = torch.rand(args.batch, 3, args.side, args.side, device=device)
    return held, peak_of(training_step(backbone, images), device) - libraries


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the tool; returns the exit status."""
    args = parse_args(argv)
    columns = ('frozen', 'trained', 'training', 'sum', f'peak, {args.batch} x {args.side}')
    width = max(len(Path(config).stem) for config in args.configs)
    print(f'{"GB":<{width}}  ' + '  '.join(f'{name:>13}' for name in columns))
    with errors_as_message():
        for config in args.configs:
            with multiprocessing.get_context('spawn').Pool(1) as pool:
                held, peak = pool.apply(measure, (args, config))
            cells = [f'{value / GB:>13.2f}' for value in (*held, held.total)]
            cells.append(f'{"-":>13}' if peak is None else f'{peak / GB:>13.2f}')
            print(f'{Path(config).stem:<{width}}  ' + '  '.join(cells), flush=True)
    return 0


if __name__ == '__main__':
    sys.exit(main())
