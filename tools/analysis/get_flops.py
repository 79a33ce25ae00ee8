"""Counts the floating-point operations of a configuration's model, module by module.

    python tools/analysis/get_flops.py configs/coco/mask_rcnn_vitadapter_s.py --shape 800 1280

Counted by torch's `FlopCounterMode`, to which multi-scale deformable attention brings its own
formula. A multiplication with its addition counts as two operations. The backbone is counted on the
meta device and needs no memory; with `--part model` the whole forward pass runs on the CPU, the
heads at the number of proposals that random weights give.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

# A checkout that is not installed works too; an installed package goes first.
sys.path.append(str(Path(__file__).resolve().parents[2]))
sys.path.append(str(Path(__file__).resolve().parents[2] / 'ops'))

import numpy as np
import torch
from mmcv.transforms import Compose
from mmengine.config import Config
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from vitadapter_dense.command_line.arguments import config_parser, errors_as_message, read_config
from vitadapter_dense.inference.predictor import build_model, build_model_on_meta


class ModuleFlops:
    """Attributes operations to the innermost module that is at work, and sums them up by name.

    `FlopCounterMode` itself adds an operation to every module on the call stack. In a ViT-Adapter
    an interaction calls the encoder's blocks, which would then count as its own too.

    Args:
        module: whose modules are told apart.
        counter: counts the operations.
    """

    def __init__(self, module: nn.Module, counter: FlopCounterMode) -> None:
        self.counter = counter
        self.own: Counter[str] = Counter()
        self._stack: list[tuple[int, int]] = []
        self._handles = []
        for name, child in module.named_modules():
            self._handles.append(child.register_forward_pre_hook(self._enter))
            self._handles.append(child.register_forward_hook(partial(self._leave, name)))

    def _enter(self, module: nn.Module, inputs: object) -> None:
        self._stack.append((self.counter.get_total_flops(), sum(self.own.values())))

    def _leave(self, name: str, module: nn.Module, inputs: object, outputs: object) -> None:
        counted, attributed = self._stack.pop()
        inside = self.counter.get_total_flops() - counted
        self.own[name] += inside - (sum(self.own.values()) - attributed)

    def by_name(self) -> dict[str, int]:
        """Operations of every module, those of its children included; `''` is the sum."""
        totals: Counter[str] = Counter()
        for name, flops in self.own.items():
            parts = name.split('.') if name else []
            for depth in range(len(parts) + 1):
                totals['.'.join(parts[:depth])] += flops
        return dict(totals)

    def close(self) -> None:
        """Takes the hooks away."""
        for handle in self._handles:
            handle.remove()


def count_flops(module: nn.Module, forward: Callable[[], object]) -> dict[str, int]:
    """Runs a forward pass and returns the operations of every module by its name, `''` for all.

    Args:
        module: whose modules are told apart.
        forward: runs the pass.
    """
    counter = FlopCounterMode(display=False)
    modules = ModuleFlops(module, counter)
    try:
        with torch.no_grad(), counter:
            forward()
    finally:
        modules.close()
    return modules.by_name()


def backbone_flops(cfg: Config, shape: tuple[int, int]) -> dict[str, int]:
    """Counts the backbone for one image of (H, W), on the meta device where it runs there."""
    backbone = build_model_on_meta(cfg).backbone.eval()
    device = next(backbone.parameters()).device
    try:
        return count_flops(backbone, lambda: backbone(torch.zeros(1, 3, *shape, device=device)))
    except (NotImplementedError, RuntimeError) as error:
        if device.type != 'meta':
            raise
        print(f'The backbone does not run on the meta device ({error}): counted on the CPU.')
    backbone = build_model(cfg).backbone.eval()
    return count_flops(backbone, lambda: backbone(torch.zeros(1, 3, *shape)))


def model_flops(cfg: Config, shape: tuple[int, int]) -> dict[str, int]:
    """Counts the whole forward pass, proposals included, for one image of (H, W)."""
    model = build_model(cfg).eval()
    pack = 'PackDetInputs' if cfg.get('default_scope') == 'mmdet' else 'PackSegInputs'
    height, width = shape
    image = np.zeros((height, width, 3), np.uint8)
    results = dict(img=image, img_shape=shape, ori_shape=shape, img_id=0, img_path='none')
    data = Compose([dict(type=pack)])(dict(results, scale_factor=(1.0, 1.0)))
    batch = model.data_preprocessor({key: [value] for key, value in data.items()})
    return count_flops(model, lambda: model(**batch, mode='tensor'))


def format_table(flops: dict[str, int], *, depth: int) -> str:
    """The operations as an aligned table, modules down to `depth` and the sum."""
    total = flops['']
    shown = {name: n for name, n in flops.items() if name and n and name.count('.') < depth}
    width = max([len(name) for name in shown] + [5])
    lines = [f'{"module":<{width}} {"GFLOPs":>10} {"share":>7}']
    for name in sorted(shown):
        lines.append(f'{name:<{width}} {shown[name] / 1e9:>10.3f} {shown[name] / total:>7.1%}')
    lines.append(f'{"total":<{width}} {total / 1e9:>10.3f} {1:>7.1%}')
    return '\n'.join(lines)


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the tool; returns the exit status."""
    parser = config_parser("Count the floating-point operations of a configuration's model.")
    parser.add_argument(
        '--shape', type=int, nargs='+', default=[800, 1280], metavar='SIDE', help='H W, or one side'
    )
    parser.add_argument('--part', choices=('backbone', 'model'), default='backbone')
    parser.add_argument('--depth', type=int, default=1, help='levels of modules (default: 1)')
    args = parser.parse_args(argv)
    if len(args.shape) > 2 or min(args.shape) < 1:
        parser.error(f'--shape takes one or two positive sides, got {args.shape}')
    shape = (args.shape[0], args.shape[-1])
    with errors_as_message():
        cfg = read_config(args)
        flops = (backbone_flops if args.part == 'backbone' else model_flops)(cfg, shape)
    print(f'{args.part} of {args.config} at {shape[0]} x {shape[1]}, one image')
    print(format_table(flops, depth=args.depth))
    print('A multiplication with its addition counts as two operations (halve for MACs).')
    return 0


if __name__ == '__main__':
    sys.exit(main())
