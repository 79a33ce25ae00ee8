"""Tensors that say they are on a GPU and are computed on the CPU.

Code that runs on them takes the branches that it takes on a GPU (``is_cuda`` is true), and what a
GPU refuses is refused: an operator that is given tensors of both devices, and what reads memory
directly (``.numpy()``). Numbers are the CPU's.
"""

from __future__ import annotations

import torch
from torch.utils._python_dispatch import TorchDispatchMode, return_and_correct_aliasing
from torch.utils._pytree import tree_leaves, tree_map_only

GPU, CPU = torch.device('cuda', 0), torch.device('cpu')
_COPIES = (torch.ops.aten.copy_.default, torch.ops.aten._to_copy.default)


class OnGpu(torch.Tensor):
    """Holds a tensor of the CPU. For C++ it is on `meta`, which needs no driver."""

    device, is_cuda, is_cpu = GPU, True, False

    @staticmethod
    def __new__(cls, inner):
        strides, offset = inner.stride(), inner.storage_offset()
        return torch.Tensor._make_wrapper_subclass(
            cls,
            inner.shape,
            strides=strides,
            storage_offset=offset,
            dtype=inner.dtype,
            device='meta',
        )

    def __init__(self, inner):
        self.inner = inner

    def tolist(self):
        return self.inner.tolist()

    def new_tensor(self, data, dtype=None):
        return torch.tensor(data, dtype=dtype or self.dtype).to(GPU)

    def __repr__(self):
        return f'OnGpu({self.inner})'

    @classmethod
    def __torch_dispatch__(cls, operator, types, arguments=(), options=None):
        return run(operator, arguments, options or {})


class PretendGpu(TorchDispatchMode):
    """While it is entered, ``device='cuda:0'`` makes such tensors."""

    # torch asks for no driver while a mode of this kind is entered
    _mode_key = torch._C._TorchDispatchModeKey.FAKE

    def __torch_dispatch__(self, operator, types, arguments=(), options=None):
        return run(operator, arguments, options or {})


def run(operator, arguments, options):
    tensors = [leaf for leaf in tree_leaves((arguments, options)) if isinstance(leaf, torch.Tensor)]
    on_gpu = any(isinstance(tensor, OnGpu) for tensor in tensors)
    if on_gpu and operator not in _COPIES:  # a number in a tensor may stay on the CPU
        others = [t for t in tensors if not isinstance(t, OnGpu) and t.dim()]
        assert not others, f'{operator} is given tensors of the GPU and of the CPU'
    if operator is _COPIES[0]:
        on_gpu = isinstance(arguments[0], OnGpu)
    device = options.get('device')
    if device is not None:
        on_gpu = torch.device(device) != CPU
    inner_options = tree_map_only(OnGpu, lambda tensor: tensor.inner, options)
    if device is not None:
        inner_options['device'] = CPU
    given = operator(*tree_map_only(OnGpu, lambda tensor: tensor.inner, arguments), **inner_options)
    if not on_gpu:
        return given
    given = tree_map_only(torch.Tensor, OnGpu, given)
    return return_and_correct_aliasing(operator, arguments, options, given)
