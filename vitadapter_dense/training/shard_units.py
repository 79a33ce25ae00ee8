"""What of a model is gathered as one when it is sharded, and what cannot be sharded."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from torch import nn

from vitadapter_dense.training.errors import SettingsError

_BLOCKS = ('blocks', 'stages', 'layers')
_LISTS = (*_BLOCKS, 'interactions')  # of backbones, called one by one
_RESNET = ('layer1', 'layer2', 'layer3', 'layer4')
_BESIDE_HEADS = ('backbone', 'data_preprocessor')


def units_of(
    model: nn.Module, *, keep_together: Sequence[str] = ()
) -> Iterator[tuple[str, nn.Module]]:
    """Name and module of what is gathered as one.

    Args:
        model: a detector, segmentor or classifier.
        keep_together: names of modules that are none; of each something must be there.
    """
    parts = {**dict(parts_of_backbone(model)), **{n: head for head, n in heads_of(model).items()}}
    found = {n: part for n, part in parts.items() if next(part.parameters(), None) is not None}
    for name in keep_together:
        try:
            model.get_submodule(name)
        except AttributeError as error:
            raise SettingsError(
                f'keep_together names {name!r}, which the model lacks; its units are {list(found)}'
            ) from error
    for name, unit in found.items():
        left_out = any(name == kept or name.startswith(f'{kept}.') for kept in keep_together)
        if not left_out:
            yield name, unit


def parts_of_backbone(model: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """Blocks, interactions, stages: the outermost lists of a backbone that go by these names."""
    taken: list[str] = []
    for name, module in getattr(model, 'backbone', nn.Module()).named_modules(prefix='backbone'):
        if any(name.startswith(f'{other}.') for other in taken):
            continue
        last = name.rpartition('.')[2]
        if last in _LISTS and isinstance(module, (nn.ModuleList, nn.Sequential)):
            taken.append(name)
            yield from ((f'{name}.{key}', child) for key, child in module.named_children())
        elif last in _RESNET:
            taken.append(name)
            yield name, module


def heads_of(model: nn.Module) -> dict[nn.Module, str]:
    """Necks and heads, with their names; what has several is taken apart.

    Detection transformers' decoders use the heads' weights, which are therefore none.
    """
    found = {}
    for name, child in model.named_children():
        if name in _BESIDE_HEADS or (name == 'bbox_head' and hasattr(model, 'decoder')):
            continue
        if isinstance(child, nn.ModuleList) or name == 'roi_head':
            parts = [(f'{name}.{key}', part) for key, part in child.named_children()]
        else:
            parts = [(name, child)]
        for key, part in parts:
            if isinstance(part, nn.ModuleList):
                found.update((each, f'{key}.{n}') for n, each in part.named_children())
            else:
                found[part] = key
    return found


def check_parts(model: nn.Module, units: dict[str, nn.Module]) -> None:
    """Raises SettingsError for what torch cannot shard."""
    owners: dict[int, tuple[str, str]] = {}
    for name, parameter in model.named_parameters(remove_duplicate=False):
        if isinstance(parameter, nn.UninitializedParameter) or parameter.ndim == 0:
            shape = '()' if parameter.ndim == 0 else 'not known yet'
            raise SettingsError(
                f'the parameter {name} cannot be sharded, its shape is {shape}. Make it a tensor '
                "of one dimension, or train without model_wrapper_cfg.type='FullySharded'"
            )
        if not parameter.is_contiguous():
            raise SettingsError(
                f'the parameter {name} cannot be sharded, its numbers do not lie one after another '
                f'(strides {parameter.stride()}). Build the model without memory_format or '
                'transposed weights'
            )
        unit = next((unit for unit in units if name.startswith(f'{unit}.')), 'the rest')
        other, owner = owners.setdefault(id(parameter), (name, unit))
        if owner != unit:
            raise SettingsError(
                f'the parameters {other} and {name} are one tensor, of two units ({owner}, {unit}),'
                ' and cannot be sharded twice. Name both units in model_wrapper_cfg.keep_together, '
                f'e.g. keep_together={[u for u in (owner, unit) if u != "the rest"]}'
            )


def blocks_of(units: Mapping[str, nn.Module]) -> Iterator[nn.Module]:
    """Units that may compute with weights of 16 bits.

    Not interactions, to whose reference points these are too few, nor what has batch norm, whose
    weights must be of the type of its statistics.
    """
    for name, unit in units.items():
        in_list = f'.{name}'.split('.')[-2] in _BLOCKS
        if in_list and not any(hasattr(module, 'running_mean') for module in unit.modules()):
            yield unit
