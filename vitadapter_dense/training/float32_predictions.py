"""Keeps a detector's predictions in float32 under mixed precision.

Under autocast the heads of MMDetection put out half-precision maps, and everything that follows
takes its type from them: anchors and boxes lose whole pixels in bfloat16 (8 bits of mantissa), and
mmcv's RoIAlign and NMS refuse that type. The layers themselves, where the time goes, stay in mixed
precision; what they hand to box arithmetic does not.

Predictions are assigned to objects outside of autocast, too. It would turn the sums over thousands
of points in matching costs back to half precision: infinite in float16
(open-mmlab/mmdetection#11559, #10909), of three digits in bfloat16. Predictions that are not finite
are assigned as if they were: SciPy would end the run, where `FiniteLossHook` leaves out the step.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper
from mmengine.optim import AmpOptimWrapper
from mmengine.registry import HOOKS
from mmengine.runner import Runner
from mmengine.structures import InstanceData
from torch import nn

_LARGEST = 1e6  # in place of infinity: sums of their costs stay finite


@HOOKS.register_module()
class Float32PredictionsHook(Hook):
    """Casts what dense, box and mask heads predict, and what RoI extractors read, to float32, and
    has predictions assigned to objects in float32.

    Does nothing without mixed precision, or to models without such parts. `DenseRunner` registers
    it by itself, and `--amp` for any other runner.
    """

    def before_train(self, runner: Runner) -> None:
        """Puts the casts in place, once."""
        if not isinstance(runner.optim_wrapper, AmpOptimWrapper):
            return
        model = runner.model.module if is_model_wrapper(runner.model) else runner.model
        keep_predictions_float32(model)


def keep_predictions_float32(model: nn.Module) -> list[str]:
    """Adds the casts to a model; a second call adds nothing.

    Returns:
        Names of the modules that were given one.
    """
    try:
        from mmdet.models.dense_heads.base_dense_head import BaseDenseHead
        from mmdet.models.roi_heads.bbox_heads import BBoxHead
        from mmdet.models.roi_heads.mask_heads import FCNMaskHead
        from mmdet.models.roi_heads.roi_extractors import BaseRoIExtractor
    except ImportError:  # a segmentor, without MMDetection installed
        return []
    changed = []
    branches = _branches_of_detrs(model)
    for name, module in model.named_modules():
        _assign_in_float32(module)
        if getattr(module, 'float32_predictions', False):
            continue
        if isinstance(module, BaseRoIExtractor):
            module.register_forward_pre_hook(_cast_inputs, with_kwargs=True)
        elif isinstance(module, (BaseDenseHead, BBoxHead, FCNMaskHead)) or module in branches:
            module.register_forward_hook(_cast_outputs)
        else:
            continue
        module.float32_predictions = True
        changed.append(name)
    return changed


def _branches_of_detrs(model: nn.Module) -> set[nn.Module]:
    """The layers that score and place queries; encoder and decoder call them without the head."""
    lists = (
        getattr(module, name, ())
        for module in model.modules()
        for name in ('cls_branches', 'reg_branches')
    )
    return {branch for branches in lists for branch in branches}


def _assign_in_float32(module: nn.Module) -> None:
    """Has the assigners of a head (they are no modules) work outside of autocast."""
    from mmdet.models.task_modules.assigners import BaseAssigner

    for value in vars(module).values():
        for assigner in value if isinstance(value, (list, tuple)) else [value]:
            if isinstance(assigner, BaseAssigner) and 'assign' not in vars(assigner):
                assigner.assign = partial(_in_float32, type(assigner).assign, assigner)


def _in_float32(function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    args, kwargs = _assignable(args), {key: _assignable(value) for key, value in kwargs.items()}
    tensors = [value for each in (*args, *kwargs.values()) for value in _tensors(each)]
    with torch.autocast(tensors[0].device.type if tensors else 'cpu', enabled=False):
        return function(*args, **kwargs)


def _assignable(value: Any) -> Any:
    """Float32, and finite."""
    if isinstance(value, (list, tuple)):
        return type(value)(_assignable(item) for item in value)
    value = to_float32(value)
    if not isinstance(value, InstanceData):
        return value
    numbers = {
        key: item.nan_to_num(0, _LARGEST, -_LARGEST)
        for key, item in value.items()
        if isinstance(item, torch.Tensor) and item.is_floating_point()
    }
    return value.new(**{**dict(value.items()), **numbers})


def _tensors(value: Any) -> list[torch.Tensor]:
    """The tensors of an `InstanceData`."""
    entries = value.values() if isinstance(value, InstanceData) else [value]
    return [entry for entry in entries if isinstance(entry, torch.Tensor)]


def _cast_inputs(module: nn.Module, args: tuple, kwargs: dict[str, Any]) -> tuple[tuple, dict]:
    return to_float32(args), to_float32(kwargs)


def _cast_outputs(module: nn.Module, inputs: Any, outputs: Any) -> Any:
    return to_float32(outputs)


def to_float32(value: Any) -> Any:
    """Casts every half-precision tensor in nested lists, tuples, dicts and `InstanceData`."""
    if isinstance(value, torch.Tensor):
        return value.float() if value.dtype in (torch.float16, torch.bfloat16) else value
    if isinstance(value, InstanceData):
        return value.new(**{key: to_float32(item) for key, item in value.items()})
    if isinstance(value, dict):
        return {key: to_float32(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)) and not hasattr(value, '_fields'):
        return type(value)(to_float32(item) for item in value)
    return value
