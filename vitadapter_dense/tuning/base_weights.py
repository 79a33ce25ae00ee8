"""The weights that a delta leaves out, and how a tuned backbone completes a delta by itself.

The tensors of a delta carry a note for each tuned backbone: which of its tensors are frozen, where
they come from, and their hash. PyTorch hands such notes (``_metadata``) to the module that they are
for, whoever loads the state dict: the toolboxes' inferencers, MMEngine's ``load_checkpoint``, or
``load_state_dict`` itself.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from vitadapter_dense.checkpoints.checked_loading import (
    WeightsError,
    check_fit,
    converted_for,
    hash_of,
    read_checkpoint,
    state_dict_of,
)

NOTE = 'delta'


def frozen_names_of(backbone: nn.Module) -> list[str]:
    """State-dict names of what the tuning method of a backbone has frozen, sorted.

    A module's buffers are frozen where none of its own parameters trains; it is in eval mode then.
    """
    inside = 'encoder' if hasattr(backbone, 'encoder') else ''
    own = {id(module) for module in backbone.tuning.modules()}
    names = set()
    for child_name, child in backbone.get_submodule(inside).named_modules(prefix=inside):
        if id(child) in own:
            continue
        parameters = list(child.named_parameters(recurse=False))
        frozen = [key for key, parameter in parameters if not parameter.requires_grad]
        if len(frozen) == len(parameters):
            frozen += [key for key, _ in child.named_buffers(recurse=False)]
        names.update(f'{child_name}.{key}' if child_name else key for key in frozen)
    return sorted(names & backbone.state_dict().keys())


def describe_base(base: Mapping[str, Any]) -> str:
    """Where base weights come from, in words."""
    if 'checkpoint' in base:
        return f'checkpoint {base["checkpoint"]}'
    return ', '.join(f'{name}: {source}' for name, source in base['pretrained'].items())


def note_for(
    name: str, frozen: Iterable[str], state_dict: Mapping[str, Tensor], base: Mapping[str, Any]
) -> dict[str, Any]:
    """What a delta tells a tuned backbone.

    Args:
        name: of the backbone in the model.
        frozen: names of its frozen tensors, relative to it.
        state_dict: the whole model's.
        base: where the frozen tensors come from: ``checkpoint`` (a file) or ``pretrained``.
    """
    frozen = list(frozen)
    tensors = {key: state_dict[f'{name}.{key}' if name else key] for key in frozen}
    return dict(name=name, base=dict(base), frozen=frozen, hash=hash_of(tensors, frozen))


def check_methods(tuned: Mapping[str, Tensor], own: Mapping[str, Tensor]) -> None:
    """Raises if a model lacks parameters of the tuning methods that a delta was made with.

    Args:
        tuned: tensors of the delta, by name.
        own: those of the model, or of its backbone.

    Raises:
        WeightsError: loading would drop what was tuned.
    """
    for name, tensor in tuned.items():
        if '.tuning.' in f'.{name}' and (name not in own or own[name].shape != tensor.shape):
            got = f'in the shape {tuple(own[name].shape)}' if name in own else 'not'
            raise WeightsError(
                f'the delta was made with another tuning method: it has {name!r} in the shape '
                f'{tuple(tensor.shape)}, the model has that {got}. Choose the config that it was '
                f'trained with.'
            )


def frozen_tensors(
    module: nn.Module,
    info: Mapping[str, Any],
    whole: Mapping[str, Tensor] | None,
    *,
    what: str = 'the delta',
) -> dict[str, Tensor]:
    """What a delta leaves out, by name, compared by its hash; the module stays as it is.

    Args:
        module: the model or the backbone that the delta is for.
        info: of the delta: ``base``, ``frozen`` and ``hash``.
        whole: weights of the checkpoint that is the base; None if the module has the base weights.
        what: the delta, for the message.

    Raises:
        WeightsError: the delta is of another model, or the base weights are others.
    """
    source, own = describe_base(info['base']), module.state_dict()
    absent = [name for name in info['frozen'] if name not in own]
    if absent:
        raise WeightsError(
            f'{what} is of another model: {absent[0]!r} of its base weights ({source}) is not in '
            f'this {type(module).__name__}. Choose the config that it was trained with.'
        )
    tensors = {name: own[name] for name in info['frozen']}
    if whole is not None:
        check_fit(module, whole, min_share=0.0, what=f'base weights {source}')
        given = converted_for(module, whole)
        for name, tensor in tensors.items():
            if name in given and given[name].shape == tensor.shape:
                tensors[name] = given[name].to(tensor)
    if hash_of(tensors, info['frozen']) != info['hash']:
        raise WeightsError(
            f'{what} is for other base weights than the model has: it was tuned from {source}, '
            'and the hash of the frozen tensors differs. Use those weights'
            f'{_type_of(tensors, info)}.'
        )
    return tensors


def _type_of(tensors: Mapping[str, Tensor], info: Mapping[str, Any]) -> str:
    """What to say where the encoder may be stored in another type than it was in the training."""
    if any(tensor.dtype == torch.bfloat16 for tensor in tensors.values()):
        return ", or drop dtype='bfloat16' of the encoder, if the training had it not"
    matrices = [name for name, t in tensors.items() if name.endswith('weight') and t.ndim > 1]
    rounded = {**tensors, **{name: tensors[name].bfloat16() for name in matrices}}
    same = hash_of(rounded, info['frozen']) == info['hash']
    return ", stored as in the training: dtype='bfloat16' of the encoder" if same else ''


def complete_delta(
    backbone: nn.Module,
    state_dict: dict[str, Tensor],
    prefix: str,
    local_metadata: Mapping[str, Any],
    *_: Any,
) -> None:
    """A load-state-dict pre-hook for a backbone: adds to a delta what it leaves out.

    Args:
        backbone: is given its pre-trained weights by ``init_weights``, if it has not got them yet.
        state_dict: completed in place, where it is that of a delta.
        prefix: of the backbone's keys.
        local_metadata: what the state dict notes for this backbone.

    Raises:
        WeightsError: the base weights are not to be had, or others than the delta was made from;
            or the backbone is tuned otherwise.
    """
    note = local_metadata.get(NOTE)
    if note is None:
        return
    given = {key.removeprefix(prefix): t for key, t in state_dict.items() if key.startswith(prefix)}
    check_methods(given, backbone.state_dict())
    whole = None
    if 'checkpoint' in note['base']:
        whole = _read_base(str(note['base']['checkpoint']), note['name'])
    elif not getattr(backbone, 'is_init', False):
        backbone.init_weights()
    tensors = frozen_tensors(backbone, note, whole)
    state_dict.update({f'{prefix}{name}': tensor.clone() for name, tensor in tensors.items()})


def _read_base(source: str, name: str) -> dict[str, Tensor]:
    try:
        whole = state_dict_of(read_checkpoint(source))
    except WeightsError as error:
        raise WeightsError(
            f'the delta needs its base weights {source!r}: put that file there ({error})'
        ) from error
    start = f'{name}.' if name else ''
    return {key.removeprefix(start): t for key, t in whole.items() if key.startswith(start)}
