"""Delta checkpoints: what was tuned, and the name and hash of what was not.

A delta holds the new parameters, the unfrozen ones, the statistics of batch norms that train, neck
and heads. The frozen rest is restored from the base weights, the pre-trained ones or the checkpoint
that training started from, and compared by its hash before anything of the delta is loaded. The
tools do so for the whole model (:func:`complete_state_dict`); whoever else loads a delta leaves it
to the backbones (:mod:`vitadapter_dense.tuning.base_weights`).
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from vitadapter_dense.checkpoints.checked_loading import (
    WeightsError,
    read_checkpoint,
    state_dict_of,
)
from vitadapter_dense.tuning import Tuning
from vitadapter_dense.tuning.base_weights import (
    NOTE,
    check_methods,
    frozen_names_of,
    frozen_tensors,
    note_for,
)

BASE = 'tuning_base'  # in the message hub, and so in every checkpoint that a run goes on from
_KEY = 'delta'


def is_delta(checkpoint: Mapping[str, Any]) -> bool:
    """Whether a checkpoint holds only what was tuned."""
    return isinstance(checkpoint.get(_KEY), Mapping)


def tuned_backbones(model: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """Name and module of every backbone with a tuning method."""
    for name, module in model.named_modules():
        if isinstance(getattr(module, 'tuning', None), Tuning):
            yield name, module


def frozen_names(model: nn.Module) -> list[str]:
    """State-dict names of what tuning has frozen, sorted."""
    names = {
        f'{name}.{key}' if name else key
        for name, backbone in tuned_backbones(model)
        for key in frozen_names_of(backbone)
    }
    return sorted(names)


def notes(model: nn.Module, base: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """What the delta of a model will tell its tuned backbones, by their names.

    Args:
        model: with its base weights.
        base: where they come from: ``checkpoint`` (a file) or ``pretrained`` (sources by name).
    """
    state = model.state_dict()
    return {
        name: note_for(name, frozen_names_of(backbone), state, base)
        for name, backbone in tuned_backbones(model)
    }


def pretrained_sources(model: nn.Module) -> dict[str, str]:
    """Where ``init_weights`` gets the parts of a model pre-trained weights from, by their names."""
    sources = {}
    for name, module in model.named_modules():
        init_cfg = getattr(module, 'init_cfg', None)
        if isinstance(init_cfg, Mapping) and init_cfg.get('type') == 'Pretrained':
            sources[name] = str(init_cfg['checkpoint'])
        elif getattr(module, 'pretrained', None):
            hub = f'{module.model_name} of the hub of timm'
            sources[name] = hub if module.pretrained is True else str(module.pretrained)
    return sources


def make_delta(
    checkpoint: Mapping[str, Any],
    frozen: Iterable[str],
    *,
    base: Mapping[str, Any],
    base_hash: str,
    backbones: Mapping[str, Mapping[str, Any]],
) -> dict[str, Any]:
    """A checkpoint without what is frozen.

    Args:
        checkpoint: a whole checkpoint.
        frozen: names of its state dict to leave out.
        base: where they come from: ``checkpoint`` (a file) or ``pretrained`` (sources by name).
        base_hash: of them.
        backbones: what :func:`notes` has found.
    """
    frozen = list(frozen)
    left_out = set(frozen)
    state = checkpoint['state_dict']
    tuned = OrderedDict((name, t) for name, t in state.items() if name not in left_out)
    metadata = dict(getattr(state, '_metadata', {}))
    for name, note in backbones.items():
        metadata[name] = {**metadata.get(name, {}), NOTE: note}
    tuned._metadata = metadata
    info = dict(base=dict(base), hash=base_hash, frozen=frozen, tuned=list(tuned))
    return dict(meta=checkpoint.get('meta', {}), delta=info, state_dict=tuned)


def needs_pretrained(checkpoint: Mapping[str, Any]) -> bool:
    """Whether a checkpoint is a delta to weights that ``init_weights`` fetches."""
    return is_delta(checkpoint) and 'pretrained' in checkpoint[_KEY]['base']


def complete_state_dict(
    model: nn.Module, checkpoint: Mapping[str, Any], filename: str | Path
) -> dict[str, Tensor]:
    """The state dict of a checkpoint; of a delta, base weights and delta together.

    Args:
        model: what the weights are for. For a delta to pre-trained weights it is initialised with
            them, if it has not been; nothing else of it changes.
        checkpoint: whole or a delta.
        filename: of the checkpoint, for messages, and to find the base weights beside it.

    Raises:
        WeightsError: the delta is incomplete, of another tuning method, or its base weights are
            not to be had or others.
    """
    tuned = state_dict_of(checkpoint)
    if not is_delta(checkpoint):
        return tuned
    info = checkpoint[_KEY]
    lost = [name for name in info['tuned'] if name not in tuned]
    if lost:
        raise WeightsError(
            f'the delta {filename} lacks {len(lost)} of its {len(info["tuned"])} tensors, '
            f'{lost[0]!r} for one: parts (a head?) have been taken out of it. Write it again.'
        )
    check_methods(tuned, model.state_dict())
    whole = None
    if 'checkpoint' in info['base']:
        whole = _read_base(str(info['base']['checkpoint']), filename)
    elif not getattr(model, 'is_init', False):
        model.init_weights()
    return {**frozen_tensors(model, info, whole, what=f'the delta {filename}'), **tuned}


def _read_base(recorded: str, filename: str | Path) -> dict[str, Tensor]:
    beside = Path(filename).parent / Path(recorded).name
    source = str(beside) if not Path(recorded).is_file() and beside.is_file() else recorded
    try:
        return state_dict_of(read_checkpoint(source))
    except WeightsError as error:
        raise WeightsError(
            f'the delta {filename} needs its base weights {recorded!r}: put that file there, or '
            f'beside the delta. ({error})'
        ) from error
