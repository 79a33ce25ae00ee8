"""Whether weights are those of an encoder: the errors that a share of matched names would hide.

One block of another architecture in twenty-four, or one tensor of another shape, leaves most of a
model matched, and trains as if nothing were wrong.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from torch import Tensor, nn

from vitadapter_dense.checkpoints.checked_loading import WeightsError

_MEND = 'Choose the checkpoint of this architecture, or the config of this checkpoint'
_LAYER_SCALE = re.compile(r'blocks\.\d+\.(ls[12]\.gamma|gamma_[12])$')
_BLOCK = re.compile(r'blocks\.(\d+)\.(.+)')


def check_encoder_weights(
    encoder: nn.Module, state_dict: Mapping[str, Tensor], prefix: str, *, what: str
) -> None:
    """Raises unless the weights of an encoder in a state dict, if it has any, are this encoder's.

    Args:
        encoder: with ``embed_dim``, ``depth``, ``pretrained_depth`` and ``model_name``.
        state_dict: in our names.
        prefix: of the encoder's keys.
        what: what the weights are, for the message.

    Raises:
        WeightsError: another width or depth, tensors of other shapes, blocks that are not of one
            architecture, or a layer scale that this encoder would leave out.
    """
    given = {
        name.removeprefix(prefix): tuple(tensor.shape)
        for name, tensor in state_dict.items()
        if name.startswith(prefix)
    }
    own = {name: tuple(tensor.shape) for name, tensor in encoder.state_dict().items()}
    start = f'the {what} does not fit the model: its encoder has'
    here = f'{encoder.model_name!r} here has'
    patches = given.get('patch_embed.proj.weight', ())
    whole = len(patches) == 4  # and not a part that was tuned
    if whole:
        depth = 1 + max((int(match[1]) for match in map(_BLOCK.match, given) if match), default=-1)
        for word, got, fitting in (
            ('width (embed_dim)', patches[0], {encoder.embed_dim}),
            # blocks that nothing uses are not built
            ('depth', depth, {encoder.pretrained_depth, encoder.depth}),
        ):
            if got not in fitting:
                wanted = ' or '.join(map(str, sorted(fitting)))
                raise WeightsError(f'{start} the {word} {got}, {here} {wanted}. {_MEND}.')
    other = [name for name in own if name in given and given[name] != own[name]]
    if other:
        name = other[0]
        more = f' (and {len(other) - 1} more)' if other[1:] else ''
        mend = _MEND
        if name == 'pos_embed':
            mend = 'Set img_size and patch_size of the encoder to those of the checkpoint'
        raise WeightsError(f'{start} {name} {given[name]}, {here} {own[name]}{more}. {mend}.')
    for part, lacking in _partly_missing(own, given) if whole else ():
        raise WeightsError(
            f'{start} {part} in some blocks, but not in blocks {lacking}: a mixture of '
            f'architectures, or incomplete. {_MEND}.'
        )
    for name in given:
        match = _LAYER_SCALE.match(name)
        if match and name not in own and not _all_one(state_dict[prefix + name]):
            raise WeightsError(
                f'{start} a layer scale ({name}), {here} none: set init_values=1.0 in the encoder, '
                f'or choose weights without it.'
            )


def _partly_missing(
    own: Mapping[str, object], given: Mapping[str, object]
) -> Iterator[tuple[str, list[int]]]:
    """What every block of ours has and only some blocks of the file do, and the others."""
    blocks: dict[str, list[int]] = {}
    for name in own:
        if match := _BLOCK.match(name):
            blocks.setdefault(match[2], []).append(int(match[1]))
    depth = max(map(len, blocks.values()), default=0)
    for part, numbers in blocks.items():
        lacking = [number for number in numbers if f'blocks.{number}.{part}' not in given]
        if len(numbers) == depth and 0 < len(lacking) < depth:
            yield part, lacking


def _all_one(scale: Tensor) -> bool:
    """Whether a layer scale changes nothing, or has no values (on the meta device)."""
    return scale.is_meta or bool((scale == 1).all())
