"""The frozen front of a backbone: its steps up to where something of a task acts.

A step is a module that the backbone calls: a stem, a block. Each is described by all that says what
it gives for an image: its type, settings, parameters and buffers, and those of what stands before
it. Two backbones with one description of a step give the same there, where they run their steps in
this order. Models are described once, in eval mode with their weights loaded; images are never
looked at.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import nn

from vitadapter_dense.encoders import TimmStages, TimmViT
from vitadapter_dense.encoders.mixin import parts_of
from vitadapter_dense.inference.description import (
    described,
    digest,
    has_hooks_inside,
    is_nothing,
    plain,
    type_and_tensors,
)
from vitadapter_dense.inference.same_images import preprocessing_of
from vitadapter_dense.tuning import Tuning
from vitadapter_dense.tuning.stages import find_stages

# attributes of an encoder that say what it makes of an image before the first block
_OF_THE_START = ('_position_hw', '_position_prefix', '_prefix_names', 'num_prefix', 'patch_size')


@dataclass(frozen=True)
class Front:
    """What a model's backbone computes before anything of its task acts.

    Attributes:
        whole: description of all that the backbone returns; None: something acts within it.
        steps: of each step by its name in the backbone, in order; None: something has acted there.
    """

    whole: str | None
    steps: dict[str, str | None]

    def shared_with(self, other: Front) -> list[str]:
        """Names of what two models have in common; ``''`` is the whole backbone."""
        if self.whole is not None and self.whole == other.whole:
            return ['']
        return [
            name
            for name, own in self.steps.items()
            if own is not None and own == other.steps.get(name)
        ]


def in_common(fronts: Mapping[str, Front]) -> dict[str, Front]:
    """Fronts by task, without what no other task has, or only one that has the whole too."""

    def worth(description: str | None) -> str | None:
        having = [
            front
            for front in fronts.values()
            if description in (front.whole, *front.steps.values())
        ]
        wholes = {front.whole for front in having}
        by_whole = len(wholes) == 1 and not wholes & {None, description}
        return None if len(having) == 1 or by_whole else description

    return {
        task: Front(worth(front.whole), {name: worth(own) for name, own in front.steps.items()})
        for task, front in fronts.items()
    }


def front_of(model: nn.Module) -> Front:
    """Describes the backbone of a model, with or without a tuning method.

    Only backbones that are known to call what they are made of one after the other have steps:
    ResNets and Swins of the toolboxes, ``TimmStages``, and ours on an encoder that nothing is
    injected into. Any other is described as a whole.
    """
    backbone, start = model.backbone, preprocessing_of(model.data_preprocessor)
    tuning = getattr(backbone, 'tuning', None)
    prefix = 'encoder.' if hasattr(backbone, 'encoder') else ''
    block_hooks = getattr(getattr(backbone, 'encoder', None), 'block_hooks', [])
    compiled = backbone._compiled_call_impl is not None  # calls none of its modules
    if compiled or any(hook is not tuning for hook in block_hooks):
        return Front(None, {})
    before, behind = set(), set()
    for method in getattr(tuning, 'methods', [] if tuning is None else [tuning]):
        sites = behind if method.acts_behind else before
        sites.update(f'{prefix}{site}' for site in method.sites)
    names = {name for name, _ in (*backbone.named_modules(), *backbone.named_parameters())}
    acts_within = (before | behind) & names or has_hooks_inside(backbone)
    whole = None if acts_within else digest([start, described(backbone)])
    walk = _Walk(_owners_of_steps(backbone), before, behind, start=start)
    if walk.owners:
        walk.through(backbone.get_submodule(prefix[:-1]), prefix[:-1])
    return Front(whole, walk.steps)


def _owners_of_steps(backbone: nn.Module) -> list[nn.Module]:
    """What only calls its children one after the other, beside sequences.

    Empty for a backbone of which it is not known that nothing else acts in between.
    """
    kind = parts_of(type(backbone))[-1]
    encoder = getattr(backbone, 'encoder', None)
    if type(encoder) is TimmViT:
        apart = getattr(backbone, 'encoder_apart', False)
        return [encoder, encoder.patch_embed] if apart else []
    if kind is not TimmStages and kind.__module__.partition('.')[0] not in ('mmdet', 'mmseg'):
        return []
    try:
        blocks = [block for stage in find_stages(backbone) for block in stage.blocks]
    except ValueError:  # its structure is another
        return []
    return list({owner for block in blocks for owner in _modules_around(backbone, block)})


def _modules_around(backbone: nn.Module, name: str) -> list[nn.Module]:
    """The modules in which a module of a backbone is, from the backbone on."""
    owners = [backbone]
    for key in name.split('.')[:-1]:
        owners.append(owners[-1].get_submodule(key))
    return owners


class _Walk:
    """Collects the steps of a backbone.

    Args:
        owners: modules that only call their children one after the other, beside sequences.
        before: names of modules and parameters from which on something of a task acts.
        behind: names of modules behind which something does.
        start: description of what stands before the backbone.

    Attributes:
        steps: what was found, as in ``Front``.
    """

    def __init__(
        self, owners: list[nn.Module], before: set[str], behind: set[str], *, start: str
    ) -> None:
        self.owners, self.before, self.behind = owners, before, behind
        self.steps: dict[str, str | None] = {}
        self._so_far: str | None = start

    def through(self, module: nn.Module, name: str) -> None:
        """Goes on with a module of the backbone, called ``name`` there."""
        if isinstance(module, Tuning) or is_nothing(module):
            return
        if name in self.before or module._forward_pre_hooks:
            self._so_far = None
        if module in self.owners or _is_sequence(module):
            self._go_on(name, digest(_of_owner(module)))
            for key, child in module.named_children():
                self.through(child, f'{name}.{key}' if name else key)
        else:
            if has_hooks_inside(module):
                self._so_far = None
            self._go_on(name, described(module))
            if any(True for _ in module.parameters()):
                self.steps[name] = self._so_far
        if name in self.behind or module._forward_hooks:
            self._so_far = None

    def _go_on(self, name: str, description: str) -> None:
        if self._so_far is not None:
            self._so_far = digest([self._so_far, name, description])


def _is_sequence(module: nn.Module) -> bool:
    return type(module).forward in (nn.Sequential.forward, nn.ModuleList.forward)


def _of_owner(module: nn.Module) -> list[Any]:
    """Type, tensors and some settings of a module that only calls others.

    Most of its settings say how many of these there are, what they say themselves, or which of
    their outputs it returns.
    """
    settings = [vars(module).get(key) for key in _OF_THE_START]
    multiple = module.image_sizes.multiple if isinstance(module, TimmStages) else None
    return [*type_and_tensors(module), plain(settings), plain(multiple)]
