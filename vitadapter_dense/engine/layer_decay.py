"""Layer-wise learning rate decay (BEiT, arXiv 2106.08254) with the original ViT-Adapter's groups.

The nearer a parameter is to the image, the lower its learning rate: embeddings are layer 0, encoder
block i is layer i + 1, and everything else (spatial prior, interactions, neck, heads) is the last
layer with the full rate.

Two properties of the original are kept because the published results were made with them: its
exclusion from weight decay compares names without their prefix, so ``backbone...pos_embed`` and
``level_embed`` are decayed; and in segmentation the mask transformer's query and class embeddings
fall in layer 0.
"""

from __future__ import annotations

from typing import Any

from mmengine.logging import print_log
from mmengine.optim import DefaultOptimWrapperConstructor
from mmengine.registry import OPTIM_WRAPPER_CONSTRUCTORS
from torch import nn

_LAYER_0_OF_HEADS = tuple(
    f'decode_head.{name}'
    for name in ('mask_embed', 'cls_embed', 'level_embed', 'query_embed', 'query_feat')
)
_UNPREFIXED_WITHOUT_DECAY = ('pos_embed', 'cls_token', 'visual_embed')


@OPTIM_WRAPPER_CONSTRUCTORS.register_module()
class LayerDecayOptimWrapperConstructor(DefaultOptimWrapperConstructor):
    """Groups parameters by layer and by weight decay; the rate falls from layer to layer.

    Args:
        optim_wrapper_cfg: config of the optimiser wrapper; its ``optimizer`` has ``lr`` and may
            have ``weight_decay``.
        paramwise_cfg: ``layer_decay_rate``, the factor from a layer to the one before it, and
            optionally ``num_layers``, the number of encoder blocks, which is checked against the
            encoder's.

    Raises:
        ValueError: a setting is missing, unknown or does not fit the encoder, or no module of the
            model has ``get_layer_depth(name) -> (layer, number of layers)``.
    """

    def __init__(
        self, optim_wrapper_cfg: dict[str, Any], paramwise_cfg: dict[str, Any] | None = None
    ) -> None:
        paramwise_cfg = dict(paramwise_cfg or {})
        unknown = set(paramwise_cfg) - {'layer_decay_rate', 'num_layers'}
        if unknown or 'layer_decay_rate' not in paramwise_cfg:
            raise ValueError(
                f'paramwise_cfg={paramwise_cfg}: set layer_decay_rate (and optionally num_layers), '
                'nothing else'
            )
        if not 0 < paramwise_cfg['layer_decay_rate'] <= 1:
            raise ValueError(
                f'layer_decay_rate={paramwise_cfg["layer_decay_rate"]} must lie in (0, 1]; 1 means '
                'no decay'
            )
        super().__init__(optim_wrapper_cfg, paramwise_cfg)

    def add_params(self, params: list[dict[str, Any]], module: nn.Module, **kwargs: Any) -> None:
        """Adds the parameter groups of ``module`` to ``params``; frozen parameters are in none."""
        rate = self.paramwise_cfg['layer_decay_rate']
        encoders = self._encoders(module)
        depths = {encoder.get_layer_depth('pos_embed')[1] for encoder in encoders.values()}
        if len(depths) > 1:
            raise ValueError(
                f'the encoders {sorted(encoders)} have {sorted(depths)} layers; they must be equal'
            )
        num_layers = depths.pop()
        wanted = self.paramwise_cfg.get('num_layers')
        if wanted is not None and wanted + 2 != num_layers:
            raise ValueError(
                f'num_layers={wanted} in paramwise_cfg, but the encoder has {num_layers - 2} '
                'blocks; correct it or leave it out'
            )

        groups: dict[str, dict[str, Any]] = {}
        for name, parameter in module.named_parameters():
            if not parameter.requires_grad:
                continue
            layer = _layer_of(name, encoders, num_layers)
            decayed = not (
                parameter.ndim == 1 or name.endswith('.bias') or name in _UNPREFIXED_WITHOUT_DECAY
            )
            group_name = f'layer_{layer}_{"decay" if decayed else "no_decay"}'
            if group_name not in groups:
                scale = rate ** (num_layers - layer - 1)
                groups[group_name] = dict(
                    params=[],
                    param_names=[],
                    group_name=group_name,
                    lr_scale=scale,
                    lr=scale * self.base_lr,
                )
                if self.base_wd is not None:
                    groups[group_name]['weight_decay'] = self.base_wd if decayed else 0.0
            groups[group_name]['params'].append(parameter)
            groups[group_name]['param_names'].append(name)
        if not groups:
            raise ValueError('the model has no trainable parameter')
        print_log(_table(groups), logger='current')
        params.extend(groups.values())

    @staticmethod
    def _encoders(model: nn.Module) -> dict[str, Any]:
        """The innermost modules that know the layers of their parameters, by their prefix."""
        found = {
            f'{name}.' if name else '': module
            for name, module in model.named_modules()
            if callable(getattr(module, 'get_layer_depth', None))
        }
        if not found:
            raise ValueError(
                'layer decay needs an encoder with get_layer_depth(name), as TimmViT has; this '
                'model has none. Use such a backbone, or drop the constructor from optim_wrapper'
            )
        return {
            prefix: module
            for prefix, module in found.items()
            if not any(other != prefix and other.startswith(prefix) for other in found)
        }


def _layer_of(name: str, encoders: dict[str, Any], num_layers: int) -> int:
    if name.startswith(_LAYER_0_OF_HEADS):
        return 0
    for prefix, encoder in encoders.items():
        if name.startswith(prefix):
            return encoder.get_layer_depth(name[len(prefix) :])[0]
    return num_layers - 1


def _table(groups: dict[str, dict[str, Any]]) -> str:
    lines = [
        'Learning rate by layer',
        f'{"group":<20}{"lr":>12}{"weight decay":>14}{"tensors":>9}{"parameters":>13}',
    ]
    for group in sorted(groups.values(), key=lambda group: (-group['lr'], group['group_name'])):
        count = sum(parameter.numel() for parameter in group['params'])
        lines.append(
            f'{group["group_name"]:<20}{group["lr"]:>12.3e}{group.get("weight_decay", 0.0):>14g}'
            f'{len(group["params"]):>9}{count:>13,}'
        )
    return '\n'.join(lines)
