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

import inspect
from typing import Any

from mmengine.logging import print_log
from mmengine.optim import DefaultOptimWrapperConstructor
from mmengine.registry import OPTIM_WRAPPER_CONSTRUCTORS, OPTIMIZERS
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
            have ``weight_decay`` (default: the optimiser's own).
        paramwise_cfg: ``layer_decay_rate``, the factor from a layer to the one before it, and
            optionally ``num_layers``, the number of encoder blocks, which is checked against the
            encoder's, and ``custom_keys``, as MMEngine has them: parts of parameters' names, each
            with ``lr_mult``, which multiplies the layer's rate, and ``decay_mult``, which
            multiplies the weight decay and stands above the exceptions for biases and norms. Of
            several keys in a name the longest counts. A tensor that has several names is one.

    Raises:
        ValueError: a setting is missing, unknown or does not fit the encoder, or no module of the
            model has ``get_layer_depth(name) -> (layer, number of layers)``.
    """

    def __init__(
        self, optim_wrapper_cfg: dict[str, Any], paramwise_cfg: dict[str, Any] | None = None
    ) -> None:
        paramwise_cfg = dict(paramwise_cfg or {})
        known = {'layer_decay_rate', 'num_layers', 'custom_keys', 'bypass_duplicate'}
        unknown = sorted(set(paramwise_cfg) - known)
        if unknown or 'layer_decay_rate' not in paramwise_cfg:
            which = f' ({unknown[0]} is)' if unknown else ''
            raise ValueError(
                f'paramwise_cfg={paramwise_cfg}: set layer_decay_rate (and optionally num_layers '
                f'and custom_keys), nothing else{which}. Biases, norms and other tensors of one '
                'dimension are not decayed anyway; for other rates and decays name parts of '
                'parameters in custom_keys, each with lr_mult and decay_mult'
            )
        _check_custom_keys(paramwise_cfg.get('custom_keys') or {})
        if not 0 < paramwise_cfg['layer_decay_rate'] <= 1:
            raise ValueError(
                f'layer_decay_rate={paramwise_cfg["layer_decay_rate"]} must lie in (0, 1]; 1 means '
                'no decay'
            )
        super().__init__(_with_own_decay(optim_wrapper_cfg), paramwise_cfg)

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

        custom = self.paramwise_cfg.get('custom_keys') or {}
        _check_keys_match(custom, [name for name, _ in module.named_parameters()])
        groups: dict[str, dict[str, Any]] = {}
        for name, parameter in module.named_parameters():
            if not parameter.requires_grad:
                continue
            key = _key_of(name, custom)
            options = custom.get(key, {})
            layer = _layer_of(name, encoders, num_layers)
            decayed = not (
                parameter.ndim == 1 or name.endswith('.bias') or name in _UNPREFIXED_WITHOUT_DECAY
            )
            group_name = f'layer_{layer}_{"decay" if decayed else "no_decay"}'
            if key is not None:
                group_name += f' {key}'
            if group_name not in groups:
                scale = rate ** (num_layers - layer - 1) * options.get('lr_mult', 1.0)
                groups[group_name] = dict(
                    params=[],
                    param_names=[],
                    group_name=group_name,
                    lr_scale=scale,
                    lr=scale * self.base_lr,
                )
                if self.base_wd is not None:
                    factor = options.get('decay_mult', 1.0 if decayed else 0.0)
                    groups[group_name]['weight_decay'] = self.base_wd * factor
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


def _with_own_decay(optim_wrapper_cfg: dict[str, Any]) -> dict[str, Any]:
    """The config with a weight decay, which a group that is not decayed must overrule."""
    optimizer = optim_wrapper_cfg['optimizer']
    if 'lr' not in optimizer:
        raise ValueError(f'optimizer={optimizer}: set lr, of which the layers have their parts')
    kind = optimizer['type']
    kind = OPTIMIZERS.get(kind) if isinstance(kind, str) else kind
    own = inspect.signature(kind).parameters.get('weight_decay')
    if own is None or 'weight_decay' in optimizer:
        return optim_wrapper_cfg
    return dict(optim_wrapper_cfg, optimizer=dict(optimizer, weight_decay=own.default))


def _check_custom_keys(custom_keys: dict[str, dict[str, float]]) -> None:
    """Raises where a key has other settings than factors of the rate and the decay."""
    for key, options in custom_keys.items():
        for option, value in options.items():
            is_factor = isinstance(value, (int, float)) and value >= 0
            if option not in ('lr_mult', 'decay_mult') or not is_factor:
                raise ValueError(
                    f'custom_keys={{{key!r}: {options}}}: {option}={value!r}; a key takes lr_mult '
                    'and decay_mult, factors from 0 on'
                )


def _check_keys_match(custom_keys: dict[str, Any], names: list[str]) -> None:
    """Raises where a key is in no parameter's name, which would leave it without effect."""
    for key in custom_keys:
        if not any(key in name for name in names):
            parts = sorted({name.partition('.')[0] for name in names})
            raise ValueError(
                f'custom_keys: {key!r} is in no name of the model, whose parts are {parts}; '
                'correct it or leave it out'
            )


def _key_of(name: str, custom_keys: dict[str, Any]) -> str | None:
    """The longest key in a name; the first by alphabet of equally long ones."""
    keys = [key for key in custom_keys if key in name]
    return min(keys, key=lambda key: (-len(key), key), default=None)


def _table(groups: dict[str, dict[str, Any]]) -> str:
    width = max(20, *(len(name) + 2 for name in groups))
    lines = [
        'Learning rate by layer',
        f'{"group":<{width}}{"lr":>12}{"weight decay":>14}{"tensors":>9}{"parameters":>13}',
    ]
    for group in sorted(groups.values(), key=lambda group: (-group['lr'], group['group_name'])):
        count = sum(parameter.numel() for parameter in group['params'])
        lines.append(
            f'{group["group_name"]:<{width}}{group["lr"]:>12.3e}'
            f'{group.get("weight_decay", 0.0):>14g}'
            f'{len(group["params"]):>9}{count:>13,}'
        )
    return '\n'.join(lines)
