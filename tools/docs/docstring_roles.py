"""Turns the roles in docstrings into links: ``:func:`name` `` and its like.

An extension of Griffe, which reads the docstrings for mkdocstrings without importing anything. A
name on some page of the site becomes a link to it, another one plain code; one that isn't there
fails the build.
"""

from __future__ import annotations

import re
from typing import Any

import griffe
from mkdocs.plugins import get_plugin_logger

OWN = ('msda', 'mmcv_ops', 'vitadapter_dense')
ROLE = re.compile(r':(?:class|func|meth|mod|data|attr):`([\w.]+)`')
log = get_plugin_logger('docstrings')


class Roles(griffe.Extension):
    """See the module's text."""

    def on_package(self, *, pkg: griffe.Module, loader: griffe.GriffeLoader, **kwargs: Any) -> None:
        """Goes through all docstrings of a package."""
        self._visit(pkg, loader)

    def _visit(self, obj: griffe.Object, loader: griffe.GriffeLoader) -> None:
        if obj.docstring:
            obj.docstring.value = ROLE.sub(
                lambda match: self._link(match[1], obj, loader), obj.docstring.value
            )
        for member in obj.members.values():
            if not member.is_alias:
                self._visit(member, loader)

    def _link(self, name: str, obj: griffe.Object, loader: griffe.GriffeLoader) -> str:
        path = _resolved(name, obj, loader)
        if path is None:
            log.warning(f'{obj.path}: nothing is named {name}')
            return f'`{name}`'
        return f'<autoref identifier="{path}" optional><code>{name}</code></autoref>'


def _resolved(name: str, obj: griffe.Object, loader: griffe.GriffeLoader) -> str | None:
    """The whole path of a name, looked up from the inside out; ``None`` if there is no such."""
    scope = obj
    while scope is not None:
        try:
            return scope[name].canonical_path
        except (KeyError, griffe.AliasResolutionError):
            scope = scope.parent
    package, _, rest = name.partition('.')
    if package not in OWN:
        return name if rest else None  # of another project: not looked up
    if package not in loader.modules_collection:
        loader.load(package)
    try:
        return loader.modules_collection[name].canonical_path
    except KeyError:
        return None
