"""Counts the parameters of a configuration's model, total and trainable, module by module.

    python tools/analysis/count_params.py configs/coco/mask_rcnn_vitadapter_s.py --depth 2

The model is built on the meta device, where it takes no memory, unless one of its parts cannot be
built there.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

# A checkout that is not installed works too; an installed package goes first.
sys.path.append(str(Path(__file__).resolve().parents[2]))
sys.path.append(str(Path(__file__).resolve().parents[2] / 'ops'))

from vitadapter_cli import config_parser, not_negative, parse


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Reads the command line."""
    parser = config_parser("Count the parameters of a configuration's model.")
    parser.add_argument(
        '--depth', type=not_negative, default=2, help='levels of modules (default: 2)'
    )
    return parse(parser, argv)


if __name__ == '__main__':
    parse_args()  # what the command line shows to be wrong ends here, before the slow imports

from torch import nn

from vitadapter_dense.command_line.arguments import errors_as_message, read_config
from vitadapter_dense.inference.predictor import build_model_on_meta
from vitadapter_dense.tuning.delta import frozen_names, tuned_backbones


class Count(NamedTuple):
    """Parameters of one module, its children included."""

    name: str
    total: int
    trainable: int


def count(name: str, module: nn.Module) -> Count:
    """Counts the parameters of a module; one that is shared inside it counts once."""
    parameters = list(module.parameters())
    total = sum(parameter.numel() for parameter in parameters)
    trainable = sum(parameter.numel() for parameter in parameters if parameter.requires_grad)
    return Count(name, total, trainable)


def count_modules(module: nn.Module, *, depth: int, prefix: str = '') -> Iterator[Count]:
    """Yields the counts of a module's descendants down to `depth`, parents first, none empty."""
    for name, child in module.named_children():
        full_name = f'{prefix}{name}'
        counted = count(full_name, child)
        if counted.total == 0:
            continue
        yield counted
        if depth > 1:
            yield from count_modules(child, depth=depth - 1, prefix=f'{full_name}.')


def format_table(counts: Sequence[Count], whole: Count) -> str:
    """The counts as an aligned table; shares are of the whole model's parameters."""
    width = max(len(item.name) for item in (*counts, whole))
    lines = [f'{"module":<{width}} {"total":>13} {"trainable":>13} {"share":>7}']
    for item in (*counts, whole):
        share = item.total / whole.total if whole.total else 0.0
        lines.append(f'{item.name:<{width}} {item.total:>13,} {item.trainable:>13,} {share:>7.1%}')
    share = whole.trainable / whole.total if whole.total else 0.0
    lines.append(f'trainable: {share:.2%} of {whole.total / 1e6:.2f} M')
    return '\n'.join(lines)


def describe_tuning(model: nn.Module) -> Iterator[str]:
    """For a tuned model: the size of a delta on disk, and whether its methods can be folded."""
    backbones = dict(tuned_backbones(model))
    if not backbones:
        return
    state, frozen = model.state_dict(), set(frozen_names(model))
    whole = sum(tensor.numel() * tensor.element_size() for tensor in state.values())
    delta = whole - sum(state[name].numel() * state[name].element_size() for name in frozen)
    yield f'delta: {delta / 2**20:.1f} MiB of {whole / 2**20:.1f} MiB'
    for name, backbone in backbones.items():
        method = backbone.tuning
        methods = getattr(method, 'methods', [method])
        kinds = ' + '.join(type(each).__name__ for each in methods)
        answer = 'yes' if method.mergeable else 'no'
        yield f'{name}: {kinds}, can be merged into plain weights: {answer}'
        parts = (getattr(backbone, 'encoder', backbone), method)
        trains = {p: p.numel() for part in parts for p in part.parameters() if p.requires_grad}
        yield f'{name}: a task trains {sum(trains.values()):,} parameters with it'


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the tool; returns the exit status."""
    args = parse_args(argv)
    with errors_as_message():
        model = build_model_on_meta(read_config(args)).train()
    counts = list(count_modules(model, depth=args.depth))
    print(format_table(counts, count('whole model', model)))
    for line in describe_tuning(model):
        print(line)
    return 0


if __name__ == '__main__':
    sys.exit(main())
