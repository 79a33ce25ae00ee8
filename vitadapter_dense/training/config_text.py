"""The text of a config, as a checkpoint keeps it, read without running it.

MMEngine reads such a text by executing it. A checkpoint may come from anywhere, so here it is only
parsed: assignments of literals, ``dict(...)`` and their nestings, which is all that a dumped config
holds. Anything else stands for itself, as text.
"""

from __future__ import annotations

import ast
from collections.abc import Mapping
from typing import Any


def read_config_text(text: str) -> dict[str, Any]:
    """The settings of a dumped config.

    Args:
        text: assignments to names, as ``Config.pretty_text`` writes them.

    Raises:
        ValueError: the text is no Python source.
    """
    try:
        statements = ast.parse(text).body
    except SyntaxError as error:
        raise ValueError(f'the text of the config cannot be read: {error}') from error
    return {
        target.id: _value(statement.value)
        for statement in statements
        if isinstance(statement, ast.Assign)
        for target in statement.targets
        if isinstance(target, ast.Name)
    }


def _value(node: ast.expr) -> Any:
    if isinstance(node, ast.Dict) and None not in node.keys:
        return {
            _value(key): _value(value) for key, value in zip(node.keys, node.values, strict=True)
        }
    if isinstance(node, ast.Call) and ast.unparse(node.func) == 'dict':
        parts = [_value(argument) for argument in node.args]  # dict({'not.a.name': 1})
        parts.append({keyword.arg: _value(keyword.value) for keyword in node.keywords})
        if all(isinstance(part, dict) for part in parts):
            return {key: value for part in parts for key, value in part.items()}
    if isinstance(node, (ast.List, ast.Tuple)):  # a list is as good as a tuple in a config
        return [_value(entry) for entry in node.elts]
    try:
        return ast.literal_eval(node)
    except ValueError:
        return ast.unparse(node)


def flat(settings: Any, prefix: str = '') -> dict[str, Any]:
    """Nested settings by dotted keys; lists are opened where they hold mappings or lists.

    Entries that are None are left out: such a setting is not set.
    """
    if isinstance(settings, Mapping):
        entries = settings.items()
    elif isinstance(settings, list) and any(isinstance(e, (Mapping, list)) for e in settings):
        entries = enumerate(settings)
    else:
        return {} if settings is None else {prefix: settings}
    found = {}
    for key, value in entries:
        found |= flat(value, f'{prefix}.{key}' if prefix else str(key))
    return found
