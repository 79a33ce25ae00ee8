"""``Mixin``: classes made on the fly, for modules that exist already and shall act otherwise.

A module keeps its parameters, their names and what it is an instance of; only its class is another,
with a mixin before its own. Python pickles and copies objects by the name of their class, which a
class made on the fly has none of: such objects are rebuilt from the classes that it is made of.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any, ClassVar

from torch import nn


class Mixin:
    """Base of everything that is mixed into the class of a module.

    Attributes:
        name_prefix: of the names of the classes made with it.
    """

    name_prefix: ClassVar[str] = ''

    def __reduce_ex__(self, protocol: int) -> tuple[Any, ...]:
        """As any module's, but the class is told by its parts."""
        _, _, *state = super().__reduce_ex__(max(2, protocol))
        return (_blank, parts_of(type(self)), *state)


@lru_cache
def mixed_class(mixin: type[Mixin], kind: type[nn.Module]) -> type[nn.Module]:
    """The class ``kind`` with a mixin before it; the same one in each call."""
    made = dict(__module__=kind.__module__, __doc__=kind.__doc__, _parts=(mixin, kind))
    return type(f'{mixin.name_prefix}{kind.__name__}', (mixin, kind), made)


def mix_in(module: nn.Module, mixin: type[Mixin]) -> None:
    """Puts a mixin before a module's class, unless it is there already."""
    if not isinstance(module, mixin):
        module.__class__ = mixed_class(mixin, type(module))


def parts_of(kind: type[nn.Module]) -> tuple[type, ...]:
    """The mixins of a class made on the fly, the first to act first, and the class below them."""
    made = kind.__dict__.get('_parts')
    return (kind,) if made is None else (made[0], *parts_of(made[1]))


def _blank(*parts: type) -> nn.Module:
    """An object without state, of the class with these parts."""
    *mixins, kind = parts
    for mixin in reversed(mixins):
        kind = mixed_class(mixin, kind)
    return kind.__new__(kind)
