"""Arguments that several tools have, and kinds of numbers that refuse what makes no sense."""

from __future__ import annotations

import argparse
import ast
import math
import re
from typing import Any

from mmengine.config import DictAction

LAUNCHERS = ('none', 'pytorch', 'slurm', 'mpi')
# MMEngine reads numbers, words and lists of them
_NESTED = re.compile(r'^[^=]*=\s*(dict\(|\{|[\[(].*(dict\(|\{))')
OF_CONFIG = ''  # in place of a checkpoint: `config` is the name of a released model


class OptionAction(DictAction):
    """Reads KEY=VALUE; what is none ends the program with the mend."""

    def __call__(
        self, parser: argparse.ArgumentParser, namespace: argparse.Namespace, values: Any, *_: Any
    ) -> None:
        """Merges the values into the namespace."""
        wrong = [word for word in values if '=' not in word.lstrip('=')]
        if wrong:
            parser.error(f'{wrong[0]!r} is no KEY=VALUE, as in model.backbone.with_cp=True')
        nested = [word for word in values if _NESTED.search(word)]
        super().__call__(parser, namespace, [word for word in values if word not in nested], *_)
        options = getattr(namespace, self.dest)
        for word in nested:
            key, _, value = word.partition('=')
            try:
                options[key] = _read_value(ast.parse(value.strip(), mode='eval').body)
            except (SyntaxError, TypeError, ValueError):
                parser.error(f"{word!r} is no KEY=VALUE, as in {key}='dict(name=1, sizes=[2, 3])'")


def _read_value(node: ast.expr) -> Any:
    """What a configuration file would say; bare words are text, as everywhere in options.

    Raises:
        ValueError: anything else.
    """
    match node:
        case ast.Call(func=ast.Name(id='dict'), args=[], keywords=given) if all(
            each.arg for each in given
        ):
            return {each.arg: _read_value(each.value) for each in given}
        case ast.Dict(keys=keys, values=values) if None not in keys:
            pairs = zip(keys, values, strict=True)
            return {_read_value(key): _read_value(value) for key, value in pairs if key}
        case ast.List(elts=items):
            return [_read_value(item) for item in items]
        case ast.Tuple(elts=items):
            return tuple(_read_value(item) for item in items)
        case ast.Name(id=word):
            return dict(true=True, false=False).get(word.lower(), word)
    return ast.literal_eval(node)


def config_parser(description: str) -> argparse.ArgumentParser:
    """A parser with the arguments that every tool with a configuration takes."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument('config', help="configuration file; the project's own from any folder")
    parser.add_argument(
        '--data-root', help='data folder, in place of the one in the configuration (everywhere)'
    )
    parser.add_argument(
        '--cfg-options',
        nargs='+',
        action=OptionAction,
        metavar='KEY=VALUE',
        help='change the configuration: model.backbone.with_cp=True, a.list="[1,2]", '
        'a.group="dict(type=LoRA, rank=8)", loaders.0.x=3',
    )
    parser.add_argument(
        '--verbose', action='store_true', help='show on the terminal all that is in the log file'
    )
    return parser


def add_checkpoint_argument(parser: argparse.ArgumentParser) -> None:
    """Adds the checkpoint that goes with `config`; a released model's name may stand for both."""
    parser.add_argument(
        'checkpoint',
        nargs='?',
        default=OF_CONFIG,
        help="checkpoint, work directory (its best or last one), or a released model's name "
        '(default: the configuration names such a model)',
    )


def add_training_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds what every training takes; `read_training_config` reads it, and `load_from`."""
    parser.add_argument(
        '--work-dir', help='where results go (default: work_dirs/<data set>/<config name>)'
    )
    parser.add_argument(
        '--amp',
        nargs='?',
        const='bfloat16',
        choices=('float16', 'bfloat16'),
        help='automatic mixed precision (default type: bfloat16), on the CPU too',
    )
    add_launcher_argument(parser)


def add_launcher_argument(parser: argparse.ArgumentParser) -> None:
    """Adds `--launcher`, which the distributed scripts set."""
    parser.add_argument(
        '--launcher',
        choices=LAUNCHERS,
        default='none',
        help='how the processes were started; tools/dist_*.sh and tools/slurm_train.sh set it',
    )


def add_device_argument(parser: argparse.ArgumentParser) -> None:
    """Adds `--device`; `vitadapter_dense.inference.devices.checked_device` reads it."""
    parser.add_argument(
        '--device', help='where to compute: cpu, cuda, cuda:1 (default: a GPU if there is one)'
    )


def positive(text: str) -> int:
    """A whole number from one."""
    return _at_least(text, 1)


def not_negative(text: str) -> int:
    """A whole number from zero."""
    return _at_least(text, 0)


def image_size(text: str) -> tuple[int, int]:
    """HEIGHTxWIDTH."""
    found = re.fullmatch(r'([1-9]\d{0,4})x([1-9]\d{0,4})', text)
    if not found:
        raise argparse.ArgumentTypeError(f'{text!r} is no height and width, as 512x768')
    return int(found[1]), int(found[2])


def share(text: str) -> float:
    """A number from 0 to 1."""
    number = float(text)
    if not 0 <= number <= 1:
        raise argparse.ArgumentTypeError(f'{text} is not between 0 and 1')
    return number


def above_zero(text: str) -> float:
    """A finite number above zero."""
    number = float(text)
    if not 0 < number < math.inf:
        raise argparse.ArgumentTypeError(f'{text} is no number above 0')
    return number


def _at_least(text: str, least: int) -> int:
    number = int(text)
    if number < least:
        raise argparse.ArgumentTypeError(f'{text} is below {least}')
    return number
