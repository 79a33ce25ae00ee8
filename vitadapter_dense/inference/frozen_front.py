"""The front of a backbone: its steps up to where something of a task acts.

Something acts on a module where a tuning method has a site, somebody a hook, or a compiler calls it
in a way of its own.
"""

from __future__ import annotations

from itertools import accumulate
from typing import NamedTuple

from torch import nn

from vitadapter_dense.encoders import TimmViT
from vitadapter_dense.inference.run_once import RunsOnce
from vitadapter_dense.inference.same_function import same_function
from vitadapter_dense.tuning.stages import find_stages


class Step(NamedTuple):
    """A method of a module that a backbone calls, or of the backbone itself."""

    module: nn.Module
    method: str = 'forward'

    @property
    def inside(self) -> set[nn.Module]:
        """The modules within it."""
        parts = [part for name, part in self.module.named_children() if name != self._apart]
        return {module for part in parts for module in part.modules()}

    def is_same(self, other: Step) -> bool:
        """Whether it gives what another gives, if both are given the same."""
        return same_function(self.module, other.module, but=self._apart)

    def run_once(self) -> None:
        """Has it run once wherever tasks hold it in common."""
        setattr(self.module, self.method, RunsOnce(*self))

    @property
    def _apart(self) -> str | None:
        return 'blocks' if self.method == 'embed' else None  # which are steps of their own


def front_of(backbone: nn.Module) -> dict[str, Step]:
    """The steps of a backbone by name, in order: stem, blocks, and at last ``''``, the whole of it.

    Only backbones whose stages are known have more than the whole, and of those on an encoder the
    ones that inject nothing into it.
    """
    before, behind = _acted_on(backbone)
    modules = dict(backbone.named_modules())
    front: dict[str, Step] = {}
    passed: set[nn.Module] = set()
    for name, step in _steps(backbone).items():
        within = {modules[each] for each in _path(name) if each in modules}
        left = passed - within
        if within & before or left & behind or step.inside & (before | behind):
            break
        front[name] = step
        passed |= within
    if not (before | behind) - {backbone}:
        front[''] = Step(backbone)
    return front


def _steps(backbone: nn.Module) -> dict[str, Step]:
    """The stem and blocks of a backbone by name: what it calls, if its structure is known."""
    encoder = getattr(backbone, 'encoder', None)
    if type(encoder) is TimmViT and getattr(backbone, 'encoder_apart', False):
        steps = {'encoder.embed': Step(encoder, 'embed')}
        if encoder.rope is not None:
            steps['encoder.rope'] = Step(encoder.rope, 'get_embed')
        blocks = encoder.blocks.named_children()
        return steps | {f'encoder.blocks.{key}': Step(block) for key, block in blocks}
    try:
        stages = find_stages(backbone) if encoder is None else []
    except ValueError:  # its structure is another
        stages = []
    blocks = [block for stage in stages for block in stage.blocks]
    around = {name for block in blocks for name in ('', *_path(block)[:-1])}
    return {
        name: Step(module)
        for name, module in backbone.named_modules()
        if name not in around and name.rpartition('.')[0] in around and name != 'tuning'
    }


def _path(name: str) -> list[str]:
    """Names of the modules that a module is in, and its own."""
    return list(accumulate(name.split('.'), '{}.{}'.format))


def _acted_on(backbone: nn.Module) -> tuple[set[nn.Module], set[nn.Module]]:
    """The modules on whose input something acts, and those on whose output."""
    modules, compiled = set(backbone.modules()), backbone._compiled_call_impl is not None
    part, tuning = getattr(backbone, 'encoder', backbone), getattr(backbone, 'tuning', None)
    if compiled or any(hook is not tuning for hook in getattr(part, 'block_hooks', [])):
        return modules, modules  # it cannot be told where they act
    before = {m for m in modules if m._forward_pre_hooks or m._compiled_call_impl is not None}
    behind = {m for m in modules if m._forward_hooks}
    named = dict(part.named_modules())
    for method in getattr(tuning, 'methods', [] if tuning is None else [tuning]):
        sites = {named[site] for site in method.sites if site in named}
        (behind if method.acts_behind else before).update(sites)
    return before, behind
