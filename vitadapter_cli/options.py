"""Reading a configuration file and merging `--cfg-options` into it.

MMEngine adds a misspelt option instead of refusing it, and takes a word where a number belongs.
"""

from __future__ import annotations

import difflib
import logging
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mmengine.config import Config, ConfigDict
from mmengine.logging import print_log

from vitadapter_cli.config_files import config_path

LOADERS = ('train_dataloader', 'val_dataloader', 'test_dataloader')
# of difflib's ratio: one letter of a word of five. Of all arguments that our configurations leave
# at their defaults, none is as near to one that they set (`class_weight`, `loss_weight`: 0.87).
SLIP = 0.88


def load_config(path: str | Path, *, options: Mapping[str, Any] | None = None) -> Config:
    """Reads a configuration file, imports what it asks for, and merges command-line options.

    Args:
        path: a `.py`, `.json` or `.yaml` configuration, or the name of one of the project's own, as
            `config_path` finds it.
        options: dotted keys and their values, as `--cfg-options` gives them.

    Raises:
        FileNotFoundError: names the configurations with similar names.
        ValueError: for an option that is a slip, or of another kind than what it replaces.
    """
    cfg = read_file(config_path(path))
    for remark in apply_options(cfg, options or {}):
        print_log(remark, logger='current', level=logging.WARNING)
    for name in LOADERS:
        settle_workers(cfg.get(name))
    return cfg


def read_file(path: Path, **options: Any) -> Config:
    """MMEngine's reader, without its lines about variables of the environment.

    Args:
        path: the file.
        **options: of `Config.fromfile`.

    Raises:
        FileNotFoundError: it, or a base of it, is not there; names the files beside that base.
    """
    before = logging.root.manager.disable
    logging.disable(logging.INFO)
    try:
        return Config.fromfile(path, **options)
    except FileNotFoundError as error:
        base = Path(os.path.normpath(error.filename or path))
        if base == Path(os.path.normpath(path)):
            raise
        names = [file.stem for file in sorted(base.parent.glob('*.py'))]
        near = difflib.get_close_matches(base.stem, names, n=5, cutoff=0.4) or names
        raise FileNotFoundError(
            f'{path} stands on {base}, which is not there. In that folder are: {", ".join(near)}'
        ) from error
    finally:
        logging.disable(before)


def apply_options(cfg: Config, options: Mapping[str, Any]) -> list[str]:
    """Merges dotted options into a configuration.

    A key that it does not have may be a real argument that the file leaves at its default, so it is
    merged all the same, unless it is nearly one that the file has.

    Returns:
        A line for every such key beside which no `type` stands: where one does, its class tells
        (`vitadapter_dense.command_line.check_names`).

    Raises:
        ValueError: a slip, a value of another kind than what it replaces, or `data_root`, which
            loaders and evaluators have copied.
    """
    if 'data_root' in options:
        raise ValueError(
            '--cfg-options data_root=... changes the variable alone: use --data-root instead'
        )
    remarks = [remark for key, value in options.items() for remark in _checked(cfg, key, value)]
    try:
        cfg.merge_from_dict(dict(options))
    except (KeyError, IndexError, TypeError) as error:
        raise ValueError(f'--cfg-options {" ".join(options)}: {error.args[0]}') from error
    return remarks


def settle_workers(loader: ConfigDict | None) -> None:
    """Takes from a loader without workers what torch allows with workers alone.

    Our configurations keep their workers over epochs; `num_workers=0` is for finding faults.
    """
    if loader and not loader.get('num_workers', 0):
        for option in ('persistent_workers', 'prefetch_factor'):
            loader.pop(option, None)


def _checked(cfg: Config, key: str, value: Any) -> list[str]:
    """What is to be said of an option; raises where it cannot be meant so."""
    present, missing, known = _look_up(cfg, key)
    if known is None and isinstance(value, Mapping) and isinstance(present, Mapping):
        own = {f'{key}.{name}': each for name, each in value.items() if name != '_delete_'}
        return [remark for pair in own.items() for remark in _checked(cfg, *pair)]
    if known is None:  # all of it is there
        _check_kind(key, value, present)
        return []
    long = [name for name in known if len(name) > 4]  # `dtype` is no slip of `type`
    slips = difflib.get_close_matches(missing, long, n=3, cutoff=SLIP)
    slips = [name for name in slips if re.sub(r'\d', '', name) != re.sub(r'\d', '', missing)]
    if slips:
        raise ValueError(
            f'--cfg-options {key}: there is no {missing!r}; did you mean {" or ".join(slips)}?'
        )
    if 'type' in known:
        return []
    near = difflib.get_close_matches(missing, known, n=3)
    hint = f'; similar: {", ".join(near)}' if near else ''
    return [f'--cfg-options: the configuration has no {key!r} yet, it is added{hint}.']


def _names_weights(value: Any) -> bool:
    return isinstance(value, str) and ('.' in value or ':' in value)


def _check_kind(key: str, value: Any, present: Any) -> None:
    """Refuses a word for a number, a switch or a group of settings; a loss scale may be dynamic.

    Weights may be `pretrained` or named, by a file or an address.
    """
    wrong, what = False, ''
    if isinstance(present, bool) and key.endswith('.pretrained') and _names_weights(value):
        return
    if isinstance(present, bool):
        wrong, what = not isinstance(value, bool | None), f'True or False there: {present}'
    elif isinstance(present, int | float):
        wrong = isinstance(value, str | bool) and not key.endswith('loss_scale')
        what = f'a number there: {present}'
    elif isinstance(present, Mapping):
        wrong, what = isinstance(value, str | bool | int | float), 'a group of settings there'
    if wrong:
        raise ValueError(f'--cfg-options {key}={value!r}: the configuration has {what}')


def _look_up(cfg: Config, dotted: str) -> tuple[Any, str, list[str] | None]:
    """The value of a dotted key; else the part where it breaks off, and what is known there."""
    node: Any = cfg
    for part in dotted.split('.'):
        if isinstance(node, (list, tuple)):
            if not part.isdigit() or int(part) >= len(node):
                return None, part, [str(index) for index in range(len(node))]
            node = node[int(part)]
        elif isinstance(node, (Config, Mapping)):
            if part not in node:
                return None, part, [str(key) for key in node]
            node = node[part]
        else:
            return None, part, []
    return node, '', None
