"""Looks for slips in a configuration before anything is built: names of types and of arguments.

A name is only called wrong where a right one is near, since not everything that has a ``type`` is
built from a registry, nor by its class alone.
"""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Iterable, Iterator, Mapping
from importlib import import_module
from typing import Any

import mmengine.registry
from mmengine.config import Config
from mmengine.registry import Registry

from vitadapter_dense.command_line.environment import TOOLBOXES

NEAR = 0.85  # of difflib's ratio: one or two letters
BUILT = (
    'model',
    'train_cfg',
    'val_cfg',
    'test_cfg',
    'train_dataloader',
    'val_dataloader',
    'test_dataloader',
    'val_evaluator',
    'test_evaluator',
    'optim_wrapper',
    'param_scheduler',
    'default_hooks',
    'custom_hooks',
)
# what a builder takes out of a dictionary before the class sees it
TAKEN = {
    'type',
    '_scope_',
    'constructor',
    'paramwise_cfg',
    'optimizer',
    'init_cfg',
    'convert_to_iter_based',
}


def check_names(cfg: Config, options: Iterable[str] = ()) -> None:
    """Raises for types and arguments that are nearly, but not quite, known.

    What registers types must be imported; the toolbox of ``default_scope`` is imported here.

    Args:
        cfg: the whole configuration.
        options: dotted keys that the command line has set: those must be arguments that their
            class takes, near or far.

    Raises:
        ValueError: names each, where it stands, and what is near.
    """
    scope = cfg.get('default_scope')
    if scope in TOOLBOXES:
        import_module(f'{scope}.registry')
    known = _registered(scope)
    given = tuple(options)
    found = [line for key in BUILT for line in _slips(cfg.get(key), key, known, given)]
    if found:
        raise ValueError(f'{cfg.filename}: ' + '\n'.join(found))


def _slips(
    value: Any, place: str, known: Mapping[str, list[Any]], given: tuple[str, ...]
) -> Iterator[str]:
    if isinstance(value, Mapping):
        if '_delete_' in value:  # MMEngine takes it out where it has something to replace
            yield f'{place} has `_delete_`, and no base configuration has {place}: leave it out'
        kind = value.get('type')
        if isinstance(kind, str):
            yield from _of_type(value, kind, place, known, given)
        for key, item in value.items():
            yield from _slips(item, f'{place}.{key}', known, given)
    elif isinstance(value, (list, tuple)):
        for number, item in enumerate(value):
            yield from _slips(item, f'{place}.{number}', known, given)


def _of_type(
    value: Mapping[str, Any],
    kind: str,
    place: str,
    known: Mapping[str, list[Any]],
    given: tuple[str, ...],
) -> Iterator[str]:
    name = kind.rpartition('.')[2]
    if name not in known:
        near = difflib.get_close_matches(name, known, n=3, cutoff=NEAR)
        if near and '.' not in kind:  # MMEngine imports what is named by its module
            yield f'{place}.type={kind!r} is not registered; did you mean {" or ".join(near)}?'
        return
    parameters = [_parameters(built) for built in known[name]]
    if None in parameters:  # one of them takes anything
        return
    accepted = set().union(*parameters)
    for key in value.keys() - accepted - TAKEN:
        near = difflib.get_close_matches(key, accepted, n=3, cutoff=NEAR)
        if near:
            yield f'{place}.{key} is no argument of {kind}; did you mean {" or ".join(near)}?'
        elif any(f'{option}.'.startswith(f'{place}.{key}.') for option in given) and not any(
            _hands_on(built) for built in known[name]
        ):
            takes = ', '.join(sorted(accepted))
            yield f'{place}.{key} is no argument of {kind}, which takes {takes}'


def _registered(scope: str | None) -> dict[str, list[Any]]:
    """What is registered anywhere under a name."""
    found: dict[str, list[Any]] = {}
    pending = [each for each in vars(mmengine.registry).values() if isinstance(each, Registry)]
    while pending:
        registry = pending.pop()
        if registry.scope == scope:
            registry.import_from_location()
        for name, built in registry.module_dict.items():
            found.setdefault(name, []).append(built)
        pending += registry.children.values()
    return found


def _parameters(built: Any) -> set[str] | None:
    """Names of the arguments, those that are handed to base classes included; None for any."""
    if not inspect.isclass(built):
        return None
    names: set[str] = set()
    for kind in built.__mro__:
        if '__init__' not in vars(kind):
            continue
        try:
            signature = inspect.signature(kind.__init__)
        except (TypeError, ValueError):  # written in C
            return None
        names |= signature.parameters.keys() - {'self'}
        if not any(p.kind is p.VAR_KEYWORD for p in signature.parameters.values()):
            return names
    return None


def _hands_on(built: Any) -> bool:
    """Whether what it takes beyond its own arguments goes elsewhere than to its base classes.

    Its name tells: `**kwargs` are a base class's, `**timm_args` are timm's, which knows them.
    """
    parameters = inspect.signature(built.__init__).parameters.values()
    return any(p.kind is p.VAR_KEYWORD and p.name != 'kwargs' for p in parameters)
