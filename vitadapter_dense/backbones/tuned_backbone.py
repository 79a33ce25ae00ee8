"""``TunedBackbone``: any registered backbone with a tuning method.

The result *is* that backbone, of a subclass made on the fly, with a child ``tuning``: no name gets
a prefix, and every released checkpoint of a detector with it still matches.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from mmengine.registry import MODELS
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from vitadapter_dense.encoders.maps import dense
from vitadapter_dense.encoders.mixin import Mixin, mix_in
from vitadapter_dense.tuning.base import (
    Tuning,
    build_tuning,
    check_untuned,
    freeze_all_but,
    keep_frozen_parts_in_eval,
)
from vitadapter_dense.tuning.base_weights import complete_delta
from vitadapter_dense.tuning.stages import idle_modules


@MODELS.register_module()
class TunedBackbone(Mixin):
    """A backbone with a tuning method: called, it gives that backbone, with a child ``tuning``.

    Every tuned backbone is an instance of it, and of its own class.

    Args:
        backbone: config of a backbone (``mmdet.ResNet``, ``mmseg.SwinTransformer``,
            ``TimmStages``, ``PlainViT``, ...), or the backbone itself. Its ``frozen_stages`` and
            ``frozen`` have no effect: the method says what trains. Of a backbone with an
            ``encoder`` the method concerns the encoder, and the rest always trains.
        tuning: config of a method, or a list of them.

    Raises:
        ValueError: the method cannot work on this backbone, would train stages that give no map,
            or the backbone is tuned already.
    """

    name_prefix = 'Tuned'
    tuning: Tuning

    def __new__(cls, *args: Any, **kwargs: Any) -> TunedBackbone:
        """The backbone; a copy of one, whose class is made on the fly, begins without state."""
        return _tune(*args, **kwargs) if cls is TunedBackbone else super().__new__(cls)

    def __init__(
        self,
        backbone: dict[str, Any] | nn.Module,
        tuning: dict[str, Any] | Sequence[dict[str, Any]] | Tuning,
    ) -> None:
        """Nothing is left to do: Python hands this the backbone that is tuned already."""

    @property
    def tuned_part(self) -> nn.Module:
        """What the method concerns: the encoder of a backbone that has one, or the whole."""
        return getattr(self, 'encoder', self)

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """The backbone's maps, in a true layout."""
        maps = super().forward(*args, **kwargs)
        if isinstance(maps, (tuple, list)) and all(isinstance(own, Tensor) for own in maps):
            return type(maps)(dense(own) if own.dim() == 4 else own for own in maps)
        return maps

    def train(self, mode: bool = True) -> TunedBackbone:
        """Frozen parts stay in eval mode; ``norm_eval`` of the backbone is none of the method's."""
        super().train(mode)
        self.tuning.train(mode)
        keep_frozen_parts_in_eval(self.tuned_part)
        return self

    def init_weights(self) -> None:
        """Initialises the backbone; the method has done so with its own modules."""
        tuning = self._modules.pop('tuning')
        try:
            super().init_weights()
        finally:
            self._modules['tuning'] = tuning


class _Recomputed(Mixin):
    """A module whose forward pass is run again in the backward pass; mixed into its class."""

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """The module's own, checkpointed."""
        if not torch.is_grad_enabled():
            return super().forward(*args, **kwargs)
        return checkpoint(super().forward, *args, use_reentrant=False, **kwargs)


def _recompute_safely(backbone: nn.Module) -> None:
    """Takes checkpointing over from modules of the toolboxes.

    Theirs is reentrant, and off wherever the input needs no gradient, which behind a frozen stem
    it does not.
    """
    for module in backbone.modules():
        if getattr(module, 'with_cp', False) and not _recomputes_safely(module):
            module.with_cp = False
            if any(True for _ in module.children()) and not _has_switch(module.children()):
                mix_in(module, _Recomputed)


def _recomputes_safely(module: nn.Module) -> bool:
    return type(module).__module__.startswith('vitadapter_dense.')


def _has_switch(modules: Any) -> bool:
    return any(hasattr(m, 'with_cp') for module in modules for m in module.modules())


def _check_all_used(model: nn.Module, part: nn.Module, method: Tuning) -> None:
    """Raises where something trains behind the last map that the backbone returns."""
    idle = idle_modules(part)
    trains = [name for name, parameter in part.named_parameters() if parameter.requires_grad]
    inside = tuple(f'{name}.' for name in idle)
    useless = [name for name in (*method.sites, *trains) if name in idle or name.startswith(inside)]
    if useless:
        last = max(part.out_indices)
        raise ValueError(
            f'out_indices={tuple(part.out_indices)} of {type(part).__name__} leaves out its last '
            f'stages, where {type(method).__name__} would train {useless[0]!r} and {len(useless)} '
            f'more for nothing. Build {last + 1} stages only (num_stages={last + 1}; of a Swin, '
            f'the first {last + 1} entries of depths and num_heads), or return the last map too'
        )


def _tune(
    backbone: dict[str, Any] | nn.Module,
    tuning: dict[str, Any] | Sequence[dict[str, Any]] | Tuning,
) -> nn.Module:
    """Mixes ``TunedBackbone`` into a backbone; its arguments and errors."""
    model = MODELS.build(backbone) if isinstance(backbone, dict) else backbone
    check_untuned(model)
    part = getattr(model, 'encoder', model)
    for name, value in (('frozen_stages', -1), ('frozen', False)):
        if hasattr(part, name):
            setattr(part, name, value)
    method = build_tuning(tuning)
    method.attach(part)
    _recompute_safely(model)  # what the method does in a block, too
    if hasattr(part, 'block_hooks'):
        part.block_hooks.append(method)
    mix_in(model, TunedBackbone)
    model.tuning = method
    model.register_load_state_dict_pre_hook(complete_delta)
    freeze_all_but(part, method)
    _check_all_used(model, part, method)
    return model.train(model.training)
