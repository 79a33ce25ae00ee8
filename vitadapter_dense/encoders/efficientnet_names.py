"""EfficientNets of the package EfficientNet-PyTorch (and its Lite models) in timm's names.

Both have the same layers. There the blocks are counted through, here from stage to stage, and a
norm has the number of the convolution before it, of which a block without expansion has one less.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from torch import Tensor

from vitadapter_dense.checkpoints.errors import WeightsError

_MARK = '_conv_stem.weight'
_BLOCK = re.compile(r'^_blocks\.(\d+)\.(\w+)\.(.+)$')
_OURS = re.compile(r'^(blocks\.\d+\.\d+)\.')
_AROUND = dict(
    _conv_stem='conv_stem', _bn0='bn1', _conv_head='conv_head', _bn1='bn2', _fc='classifier'
)
_SQUEEZE = dict(_se_reduce='se.conv_reduce', _se_expand='se.conv_expand')
_EXPANDED = _SQUEEZE | dict(
    _expand_conv='conv_pw',
    _bn0='bn1',
    _depthwise_conv='conv_dw',
    _bn1='bn2',
    _project_conv='conv_pwl',
    _bn2='bn3',
)
_PLAIN = _SQUEEZE | dict(_depthwise_conv='conv_dw', _bn1='bn1', _project_conv='conv_pw', _bn2='bn2')


def in_timm_efficientnet_names(
    state_dict: Mapping[str, Tensor], wanted: Mapping[str, Tensor], model_name: str
) -> dict[str, Tensor]:
    """A state dict of EfficientNet-PyTorch under timm's names; any other passes unchanged.

    Args:
        state_dict: tensors by name.
        wanted: the state dict of timm's model.
        model_name: its name, for the message.

    Raises:
        WeightsError: a tensor that this model has not, or of another shape, or one is lacking.
    """
    if _MARK not in state_dict:
        return dict(state_dict)
    blocks = list(dict.fromkeys(match[1] for match in map(_OURS.match, wanted) if match))
    expanded = {m[1] for m in map(_BLOCK.match, state_dict) if m and m[2] == '_expand_conv'}
    ours = {}
    for name, tensor in state_dict.items():
        if match := _BLOCK.match(name):
            number, layer, rest = match.groups()
            layers = _EXPANDED if number in expanded else _PLAIN
            if int(number) >= len(blocks) or layer not in layers:
                raise WeightsError(f'{model_name} has no place for {name}: {_MEND}')
            ours[f'{blocks[int(number)]}.{layers[layer]}.{rest}'] = tensor
        else:
            layer, _, rest = name.partition('.')
            ours[f'{_AROUND.get(layer, layer)}.{rest}'] = tensor
    for name, tensor in wanted.items():
        if name not in ours:
            raise WeightsError(f'the file has no {name} of {model_name}: {_MEND}')
        if ours[name].shape != tensor.shape:
            raise WeightsError(
                f'{name} is {tuple(ours[name].shape)} in the file and {tuple(tensor.shape)} in '
                f'{model_name}: {_MEND}'
            )
    return ours


_MEND = 'the weights are of another EfficientNet; set model_name to it'
