"""The operators by the names and signatures under which mmcv calls them.

An operator that is not here raises when it is called, never when it is imported. One that mmcv
calls with other arguments than those written here raises at that call: mmcv changes the signatures
of ``mmcv._ext`` without notice, and a guess could be wrong without a word.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import partial, wraps
from types import ModuleType
from typing import Any, NoReturn

import torch

from mmcv_ops import boxes, carafe, deform_conv, focal_loss, masked_conv, pooling, psamask
from mmcv_ops.attention import ms_deform_attn_backward, ms_deform_attn_forward
from mmcv_ops.finder import COMPILE, FOLLOWS


def get_compiler_version() -> str:
    """What mmcv's environment report shows for its compiler."""
    return 'none (mmcv_ops: torchvision and msda)'


def get_compiling_cuda_version() -> str:
    """The CUDA of the torch that computes the operators."""
    return torch.version.cuda or 'not available'


OPERATORS: dict[str, Callable[..., Any]] = {
    function.__name__: function
    for function in (
        boxes.bbox_overlaps,
        boxes.nms,
        boxes.nms_match,
        boxes.softnms,
        carafe.carafe_backward,
        carafe.carafe_forward,
        carafe.carafe_naive_backward,
        carafe.carafe_naive_forward,
        deform_conv.deform_conv_backward_input,
        deform_conv.deform_conv_backward_parameters,
        deform_conv.deform_conv_forward,
        deform_conv.modulated_deform_conv_backward,
        deform_conv.modulated_deform_conv_forward,
        focal_loss.sigmoid_focal_loss_backward,
        focal_loss.sigmoid_focal_loss_forward,
        focal_loss.softmax_focal_loss_backward,
        focal_loss.softmax_focal_loss_forward,
        get_compiler_version,
        get_compiling_cuda_version,
        masked_conv.masked_col2im_forward,
        masked_conv.masked_im2col_forward,
        ms_deform_attn_backward,
        ms_deform_attn_forward,
        pooling.roi_align_backward,
        pooling.roi_align_forward,
        pooling.roi_pool_backward,
        pooling.roi_pool_forward,
        psamask.psamask_backward,
        psamask.psamask_forward,
    )
}

# What MMDetection and MMSegmentation use of mmcv.ops and is not here, with its reason. What
# neither of them uses (rotated boxes, point clouds, StyleGAN's layers) is not listed.
UNAVAILABLE = {
    'line_nms_forward': 'suppression of lanes (CLRNet), which mmcv has for CUDA alone',
    **dict.fromkeys(
        ('deform_roi_pool_forward', 'deform_roi_pool_backward'),
        'deformable RoI pooling, which two configs of MMDetection name (dpool, mdpool)',
    ),
    **dict.fromkeys(
        (
            'sync_bn_forward_mean',
            'sync_bn_forward_var',
            'sync_bn_forward_output',
            'sync_bn_backward_param',
            'sync_bn_backward_data',
        ),
        "mmcv's own synchronised batch norm (MMSyncBN); PyTorch's is norm_cfg=dict(type='SyncBN')",
    ),
}


def fill(module: ModuleType) -> None:
    """Makes a module answer as ``mmcv._ext`` does."""
    for name, function in OPERATORS.items():
        setattr(module, name, checked(name, function))
    module.__getattr__ = _unavailable


def checked(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
    """The operator; arguments that it does not know are told, with both versions."""
    signature = inspect.signature(function)

    @wraps(function)
    def operator(*args: Any, **kwargs: Any) -> Any:
        try:
            signature.bind(*args, **kwargs)
        except TypeError as error:
            raise RuntimeError(
                f'mmcv {_mmcv_version()} calls its operator {name} with other arguments than '
                f'mmcv {FOLLOWS}, which mmcv_ops follows ({error}). Mend: install onedl-mmcv '
                f"{FOLLOWS}, or compile mmcv's own operators ({COMPILE})"
            ) from error
        return function(*args, **kwargs)

    return operator


def _unavailable(name: str) -> Callable[..., NoReturn]:
    if name.startswith('__'):
        raise AttributeError(f'mmcv_ops stands in for mmcv._ext and has no {name}')
    return partial(_raise, name)


def _raise(name: str, *args: Any, **kwargs: Any) -> NoReturn:
    reason = UNAVAILABLE.get(name, 'neither MMDetection nor MMSegmentation uses it')
    raise NotImplementedError(
        f"mmcv's operator {name} is not among those that mmcv_ops brings: {reason}. Mend: compile "
        f"mmcv's own operators ({COMPILE})"
    )


def _mmcv_version() -> str:
    import mmcv

    return mmcv.__version__
