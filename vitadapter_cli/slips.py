"""What the command line alone shows to be wrong: it ends the program before the slow imports."""

from __future__ import annotations

import argparse
import difflib
from collections.abc import Sequence
from pathlib import Path

from vitadapter_cli.config_files import config_path
from vitadapter_cli.model_names import released_checkpoint
from vitadapter_cli.options import apply_options, read_file
from vitadapter_cli.parsers import OF_CONFIG
from vitadapter_cli.values import check_values

CONFIGS = ('.py', '.json', '.yaml', '.yml')
WEIGHTS = ('.pth', '.pt', '.tar', '.zip', '.safetensors', '.npz', '.bin')
# arguments of the tools that name what must be there -> what it is
THERE = {
    'load_from': 'checkpoint to load from',
    'resume': 'checkpoint to resume from',
    'data_root': 'data folder',
    'work_dirs': 'work directory',
    'video': 'video',
}
MENDS = {'data_root': ' The quick start generates its own data: make train'}
NOT_FILES = ('auto',)


def parse(parser: argparse.ArgumentParser, argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Reads a command line; one that names a configuration is tried on it, without its imports.

    Raises:
        SystemExit: with the message, for a configuration, an option or a file that cannot be meant.
    """
    args, unknown = parser.parse_known_args(argv)
    if unknown:
        options = [name for action in parser._actions for name in action.option_strings]
        near = difflib.get_close_matches(unknown[0].partition('=')[0], options)
        hint = f'; did you mean {" or ".join(near)}?' if near else ''
        parser.error(f'unrecognized arguments: {" ".join(unknown)}{hint}')
    refuse_slips(args)
    return args


def refuse_slips(args: argparse.Namespace) -> None:
    """Ends the program for a configuration, an option or a file that cannot be meant."""
    try:
        _check(args)
    except (OSError, ValueError) as error:
        raise SystemExit(f'error: {error}') from None


def _check(args: argparse.Namespace) -> None:
    if getattr(args, 'checkpoint', None) == OF_CONFIG:
        _complete(args)
    given = vars(args)
    config, checkpoint = given.get('config'), given.get('checkpoint')
    if config:
        _check_config_name(config, checkpoint)
        cfg = read_file(config_path(config), import_custom_modules=False)
        apply_options(cfg, given.get('cfg_options') or {})
        check_values(cfg)
    if checkpoint and '://' not in checkpoint and not Path(checkpoint).exists():
        released_checkpoint(checkpoint)
    for name, what in THERE.items():
        value = given.get(name) or ()
        for source in map(str, value if isinstance(value, list) else [value] if value else ()):
            if source not in NOT_FILES and '://' not in source and not Path(source).exists():
                raise FileNotFoundError(f'There is no {what} at {source}.' + MENDS.get(name, ''))


def _complete(args: argparse.Namespace) -> None:
    """Takes a released model's name for both, configuration and checkpoint.

    Raises:
        OSError: there is no such model.
        ValueError: it is a configuration.
    """
    _check_config_name(args.config)
    if Path(args.config).suffix in CONFIGS:
        config_path(args.config)
        raise ValueError(
            f'{args.config} is a configuration, which has no weights: name a checkpoint or a work '
            'directory after it.'
        )
    model = released_checkpoint(args.config)
    args.config, args.checkpoint = model.config, model.name


def _check_config_name(config: str, checkpoint: str | None = None) -> None:
    """Tells a configuration from what else is given in its place.

    Raises:
        ValueError: for weights or a folder, with what was meant where that shows.
    """
    path = Path(config)
    if path.suffix in WEIGHTS:
        swapped = checkpoint and Path(checkpoint).suffix in CONFIGS
        mend = f'{checkpoint} and it are swapped' if swapped else 'give the configuration first'
        raise ValueError(f'{config} is a checkpoint, where a configuration belongs: {mend}.')
    if path.is_dir():
        inside = sorted(str(file) for file in path.glob('*.py'))
        mend = f'name the file: {", ".join(inside[:3])}' if inside else 'it holds no configuration'
        raise ValueError(f'{config} is a folder, where a configuration belongs: {mend}.')
