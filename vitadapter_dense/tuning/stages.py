"""Where the stages of a backbone are, found by its structure or told by name.

A stage's map is taken before the next stage's downsampling, so that what a method makes of it goes
to both the output and the next stage. Known structures: the ResNet family of MMDetection and
MMSegmentation (``res_layers``), their Swin (``stages`` of ``SwinBlock``), every model of
``TimmStages`` (by timm's own feature information), and plain ViTs, whose stages are evenly spaced
groups of blocks.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Literal

import torch
from torch import Tensor, nn

from vitadapter_dense.encoders.maps import map_of
from vitadapter_dense.encoders.timm_stages import TimmStages
from vitadapter_dense.encoders.timm_vit import TimmViT
from vitadapter_dense.tuning.prompted_windows import put_behind, take_from_behind

Layout = Literal['NCHW', 'NHWC', 'tokens']


@dataclass(frozen=True)
class Stage:
    """A stage of a backbone.

    Attributes:
        name: of the module whose output is the stage's map, relative to the backbone.
        channels: of the map.
        layout: of that output; ``'tokens'`` is ``(B, H * W, C)``.
        blocks: names of the stage's blocks, in order.
        last_block: number of the last block, for a plain ViT.
    """

    name: str
    channels: int
    layout: Layout
    blocks: tuple[str, ...]
    last_block: int | None = None


def is_plain_vit(backbone: nn.Module) -> bool:
    """Whether the backbone runs blocks on :class:`Tokens` and calls block hooks."""
    return isinstance(backbone, TimmViT)


def find_stages(backbone: nn.Module, names: Sequence[str] | None = None) -> list[Stage]:
    """The stages of a backbone, from the first to the last.

    Args:
        backbone: the backbone, or the encoder of one.
        names: modules whose outputs are the stages' maps ``(B, C, H, W)``, for a structure that is
            not known here.

    Raises:
        ValueError: no stage is found, or a name is unknown.
    """
    if names is not None:
        return _named_stages(backbone, names)
    if is_plain_vit(backbone):
        return _vit_stages(backbone)
    if isinstance(backbone, TimmStages):
        return _timm_stages(backbone)
    if hasattr(backbone, 'res_layers'):
        return [_residual_stage(backbone, name) for name in backbone.res_layers]
    stages = getattr(backbone, 'stages', None)
    if isinstance(stages, nn.ModuleList) and all(_is_mm_swin_stage(stage) for stage in stages):
        return [_mm_swin_stage(stage, f'stages.{index}') for index, stage in enumerate(stages)]
    raise ValueError(
        f'{type(backbone).__name__} has no stages of a known structure; name the modules whose '
        f'outputs are maps, of {_candidates(backbone)}'
    )


def _candidates(backbone: nn.Module) -> list[str]:
    return [
        name
        for name, module in backbone.named_modules()
        if name and name.count('.') < 2 and any(True for _ in module.parameters())
    ]


def _children(name: str, module: nn.Module) -> tuple[str, ...]:
    """Names of the blocks of a stage."""
    inner = getattr(module, 'blocks', None)
    if isinstance(inner, (nn.Sequential, nn.ModuleList)):
        name, module = f'{name}.blocks', inner
    return tuple(f'{name}.{child}' for child, _ in module.named_children())


def _residual_stage(backbone: nn.Module, name: str) -> Stage:
    """A stage of the toolboxes' ResNet family; a block's last convolution gives the channels."""
    layer = backbone.get_submodule(name)
    blocks = _children(name, layer)
    block = backbone.get_submodule(blocks[-1])
    convs = [getattr(block, key) for key in ('conv3', 'conv2') if hasattr(block, key)]
    if not convs:
        raise ValueError(
            f'{name!r} of {type(backbone).__name__} is made of {type(block).__name__}, whose '
            f'number of channels is unknown; name the stages'
        )
    return Stage(name, convs[0].out_channels, 'NCHW', blocks)


def _is_mm_swin_stage(stage: nn.Module) -> bool:
    blocks = getattr(stage, 'blocks', ())
    return len(blocks) > 0 and type(blocks[0]).__name__ == 'SwinBlock'


def _mm_swin_stage(stage: nn.Module, name: str) -> Stage:
    """A stage of the toolboxes' Swin: the last block, which stands before the downsampling."""
    blocks = _children(name, stage)
    return Stage(blocks[-1], stage.blocks[-1].norm1.normalized_shape[0], 'tokens', blocks)


def _timm_stages(backbone: TimmStages) -> list[Stage]:
    """The stages of a timm model, without a stem that stands among them."""
    stages = []
    swin = getattr(backbone.model, 'output_fmt', 'NCHW') == 'NHWC'
    built = dict(backbone.named_modules())
    for info in backbone.model.feature_info:
        name = f'model.{info["module"]}'
        if name not in built:  # behind the last map that is returned
            continue
        module = built[name]
        blocks = _children(name, module)
        if len(blocks) > 0 and info['reduction'] > 2:
            layout: Layout = 'NHWC' if swin else 'NCHW'
            stages.append(Stage(name, info['num_chs'], layout, blocks))
    return stages


def _vit_stages(backbone: nn.Module, groups: int = 4) -> list[Stage]:
    """Evenly spaced groups of blocks, one a level of a pyramid."""
    groups = min(groups, backbone.depth)
    ends = [round(part * backbone.depth / groups) for part in range(groups + 1)]
    return [
        Stage(
            f'blocks.{stop - 1}',
            backbone.embed_dim,
            'tokens',
            tuple(f'blocks.{index}' for index in range(start, stop)),
            stop - 1,
        )
        for start, stop in zip(ends, ends[1:], strict=False)
    ]


@torch.no_grad()
def _named_stages(backbone: nn.Module, names: Sequence[str]) -> list[Stage]:
    """Stages told by name; a small image tells their channels."""
    known = dict(backbone.named_modules())
    unknown = [name for name in names if name not in known]
    if unknown:
        raise ValueError(
            f'{type(backbone).__name__} has no module {unknown[0]!r}; it has '
            f'{_candidates(backbone)}'
        )
    found: dict[str, Tensor] = {}
    handles = [
        known[name].register_forward_hook(
            lambda _module, _args, output, name=name: found.update({name: output})
        )
        for name in names
    ]
    training = backbone.training
    try:
        backbone.eval()  # MMDetection's Swin returns nothing here
        backbone(next(backbone.parameters()).new_zeros(1, 3, 64, 64))
    finally:
        backbone.train(training)
        for handle in handles:
            handle.remove()
    for name in names:
        output = found.get(name)
        if not isinstance(output, Tensor) or output.ndim != 4:
            raise ValueError(
                f'{name!r} of {type(backbone).__name__} gives no map (B, C, H, W); choose another '
                f'of {_candidates(backbone)}'
            )
    return [
        Stage(name, found[name].shape[1], 'NCHW', _children(name, known[name])) for name in names
    ]


def residual_blocks(backbone: nn.Module) -> list[str]:
    """Names of all blocks of all stages, from the first to the last."""
    return [name for stage in find_stages(backbone) for name in stage.blocks]


def output_channels(backbone: nn.Module) -> list[int]:
    """Channels of the maps that the backbone returns (of a plain ViT: its width)."""
    if is_plain_vit(backbone):
        return [backbone.embed_dim]
    if isinstance(backbone, TimmStages):
        return list(backbone.out_channels)
    stages = find_stages(backbone)
    return [stages[index].channels for index in output_stages(backbone)]


def output_stages(backbone: nn.Module) -> list[int]:
    """Numbers of the stages whose maps a backbone returns, 0 to 3; all where it does not tell."""
    if isinstance(backbone, TimmStages):  # the first has stride 4; maps of stride 2 are a stem's
        return [max(0, stride.bit_length() - 3) for stride in backbone.strides]
    return list(getattr(backbone, 'out_indices', range(4)))


def idle_modules(backbone: nn.Module) -> list[str]:
    """Names of the stages, and of their blocks, behind the last map that a backbone returns.

    The toolboxes' backbones build and run them all the same; ours and timm's do not have them.
    """
    if is_plain_vit(backbone) or not hasattr(backbone, 'out_indices'):
        return []
    try:
        stages = find_stages(backbone)
    except ValueError:  # another structure: the first step tells
        return []
    idle = stages[max(backbone.out_indices) + 1 :]
    return [name for stage in idle for name in (stage.name, *stage.blocks)]


def hook_stage(
    backbone: nn.Module, stage: Stage, function: Callable[[int, Tensor], Tensor], index: int
) -> None:
    """Has ``function(index, map (B, C, H, W))`` act on a stage's map (not for a plain ViT).

    Args:
        backbone: the backbone.
        stage: the stage.
        function: a bound method of a module, so that a copy of the backbone has its own.
        index: number of the stage.
    """
    module = backbone.get_submodule(stage.name)
    module.register_forward_hook(partial(_on_map, function, index, stage.layout))


def _on_map(
    function: Callable[[int, Tensor], Tensor],
    index: int,
    layout: Layout,
    module: nn.Module,
    args: tuple,
    output: Tensor,
) -> Tensor:
    if layout == 'NCHW':
        return function(index, output)
    prompts = getattr(module, 'num_leaving', 0)  # of another method, behind the map
    output, behind = take_from_behind(output, prompts)
    if layout == 'NHWC':
        changed = function(index, map_of(output)).movedim(1, -1)
    else:
        grid = map_of(output.unflatten(1, tuple(args[1])))
        changed = function(index, grid).movedim(1, -1).flatten(1, 2)  # (B, H*W, C)
    return put_behind(changed, behind) if prompts else changed
