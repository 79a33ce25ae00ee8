"""``FullySharded``: weights, gradients and optimiser states in parts, one for each process.

torch's ``fully_shard`` (FSDP2, arXiv 2304.11277): a unit's weights are gathered before its forward
pass and again before its backward pass, and its gradients are reduced to the parts. Units are an
encoder's blocks, the interactions, stages of other backbones, necks and heads; what is left
(patch embedding, spatial prior, tuning methods) is gathered once a step.
"""

from __future__ import annotations

import dataclasses
import inspect
import warnings
from collections.abc import Iterator, Sequence
from typing import Any, Literal

import torch
import torch.distributed
from mmengine.device import get_device
from mmengine.hooks import Hook
from mmengine.model import BaseTTAModel, convert_sync_batchnorm
from mmengine.registry import MODEL_WRAPPERS
from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from torch.distributed.fsdp import (
    FSDPModule,
    MixedPrecisionPolicy,
    fully_shard,
    register_fsdp_forward_method,
)

from vitadapter_dense.checkpoints.sharded_tensors import shard_like
from vitadapter_dense.training.distributed import without_sync_bn
from vitadapter_dense.training.errors import SettingsError
from vitadapter_dense.training.optimizer_state import wrappers_of
from vitadapter_dense.training.shard_units import (
    blocks_of,
    check_parts,
    heads_of,
    units_of,
)

_FORWARD_OF_HEADS = ('loss', 'loss_and_predict')  # what calls a head in training


@MODEL_WRAPPERS.register_module()
class FullySharded(nn.Module):
    """Shards a model over all processes: ``model_wrapper_cfg=dict(type='FullySharded')``.

    `DenseRunner` shards when it trains, after the weights are initialised and before the optimiser
    is built; a model that is only evaluated stays whole. For an evaluation within a training each
    process gathers the weights once, because images make their processes call heads and windows
    unequally often.

    Args:
        module: the model.
        param_dtype: ``'bfloat16'`` gathers the weights of an encoder's blocks in 16 bits and
            computes with them, and with what comes into a block (parts and optimiser keep float32);
            it needs ``AutocastOptimWrapper`` (``--amp bfloat16``). All else keeps its own type.
        reduce_dtype: type in which gradients are averaged.
        reshard_after_forward: let go of blocks' weights between forward and backward pass. Heads
            keep theirs: the backward pass begins with them.
        with_cp: recompute units in the backward pass: switches on every ``with_cp`` of the model.
        find_unused_parameters: heads, or parts of them, may be used by one process and left out by
            another; necks and heads are no units then, and what none uses has a gradient of zero.
        keep_together: names of modules that are no units of their own, because others use their
            weights.

    Raises:
        ValueError: a setting that is unknown or fits nothing.
    """

    def __init__(
        self,
        module: nn.Module,
        *,
        param_dtype: Literal['bfloat16'] | None = None,
        reduce_dtype: Literal['float32', 'bfloat16'] = 'float32',
        reshard_after_forward: bool = True,
        with_cp: bool = False,
        find_unused_parameters: bool = False,
        keep_together: Sequence[str] = (),
    ) -> None:
        super().__init__()
        if param_dtype not in (None, 'bfloat16') or reduce_dtype not in ('float32', 'bfloat16'):
            raise ValueError(
                f'param_dtype={param_dtype!r} reduce_dtype={reduce_dtype!r}: FullySharded takes '
                "None or 'bfloat16' for the weights, and 'float32' or 'bfloat16' for the gradients"
            )
        self.module = module
        self.param_dtype, self.reduce_dtype = param_dtype, reduce_dtype
        self.reshard_after_forward = reshard_after_forward
        self.find_unused_parameters = find_unused_parameters
        self.keep_together = tuple(keep_together)
        self.mesh: DeviceMesh | None = None
        self._gathered = False
        if with_cp:
            _recompute(self._bare())

    def _bare(self) -> nn.Module:
        model = self.module
        while isinstance(model, BaseTTAModel):
            model = model.module
        return model

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Calls the model."""
        return self.module(*args, **kwargs)

    # ---------------------------------------------------------------------- sharding

    def shard(self) -> None:
        """Shards the model over all processes; the first one's weights count.

        Raises:
            SettingsError: a part that cannot be sharded; nothing has been sharded then.
        """
        # what an interaction returns may be a view; nothing adds to it in place
        warnings.filterwarnings('ignore', r'FSDP2-wrapped module \(FSDPInteraction\) returned')
        model, device = self._bare(), get_device()
        units = dict(units_of(model, keep_together=self.keep_together))
        heads = set(heads_of(model))
        if self.find_unused_parameters:  # a process that leaves one out would not gather it
            units = {name: unit for name, unit in units.items() if unit not in heads}
        check_parts(model, units)
        self.mesh = init_device_mesh(device, (torch.distributed.get_world_size(),))
        exact = MixedPrecisionPolicy(reduce_dtype=getattr(torch, self.reduce_dtype))
        mixed = exact
        if self.param_dtype is not None:
            types = dict(param_dtype=getattr(torch, self.param_dtype), output_dtype=torch.float32)
            mixed = dataclasses.replace(exact, **types)
        blocks = set(blocks_of(units))
        for unit in (*units.values(), model):
            _share_first(unit, device)
            fully_shard(
                unit,
                mesh=self.mesh,
                mp_policy=mixed if unit in blocks else exact,
                reshard_after_forward=self.reshard_after_forward and unit not in heads,
            )
            if self.find_unused_parameters:
                unit.set_reduce_scatter_unused_params(True, recurse=False)
        for head in heads & set(units.values()):
            for method in _FORWARD_OF_HEADS:
                if hasattr(head, method):
                    register_fsdp_forward_method(head, method)
        for module in model.modules():
            if next(module.parameters(recurse=False), None) is not None:
                module.register_load_state_dict_pre_hook(take_shards)
        model.__deepcopy__ = lambda memo: copy_of_shards(model)
        model.to(device)  # what is no tensor of the model but knows where it is

    def check_precision(self, optim_wrapper: Any) -> None:
        """Raises SettingsError where the optimiser's precision does not fit the weights'."""
        for wrapper in wrappers_of(optim_wrapper).values():
            cast = getattr(wrapper, 'cast_dtype', None)
            if cast == torch.float16:
                raise SettingsError(
                    "FullySharded does not scale losses, which dtype='float16' needs; use "
                    "dtype='bfloat16' (--amp bfloat16)"
                )
            if self.param_dtype is not None and cast != torch.bfloat16:
                raise SettingsError(
                    f'model_wrapper_cfg.param_dtype={self.param_dtype!r} needs autocast to the '
                    "same type: optim_wrapper.type='AutocastOptimWrapper', dtype='bfloat16' "
                    '(--amp bfloat16)'
                )

    def gather(self) -> None:
        """Has the model whole in every process, until `scatter`; all processes must call it."""
        if self.mesh is None:
            self.module.to(get_device())
        elif not self._gathered:
            self._gathered = True
            for unit in self._units():
                unit.set_reshard_after_forward(False, recurse=False)
                unit.unshard()

    def scatter(self) -> None:
        """Lets go of what `gather` has gathered."""
        if self._gathered:
            self._gathered = False
            heads = set(heads_of(self._bare()))
            for unit in self._units():
                again = self.reshard_after_forward and unit not in heads
                unit.set_reshard_after_forward(again and unit is not self._bare(), recurse=False)
                unit.reshard()

    def _units(self) -> Iterator[FSDPModule]:
        return (module for module in self.module.modules() if isinstance(module, FSDPModule))

    # ------------------------------------------------------------- what a runner calls

    def train_step(self, data: Any, optim_wrapper: Any) -> dict[str, Tensor]:
        """Trains one step.

        Raises:
            SettingsError: weights of a unit are used by another.
        """
        self.scatter()
        try:
            return self.module.train_step(data, optim_wrapper)
        except RuntimeError as error:
            if 'mixed torch.Tensor and DTensor' not in str(error):
                raise
            raise SettingsError(
                'a part of the model uses weights of another while those are sharded. Name the '
                "other in model_wrapper_cfg.keep_together (e.g. keep_together=['bbox_head']); the "
                f'units are {[name for name, _ in units_of(self._bare())]}. ({error})'
            ) from error

    def val_step(self, data: Any) -> list:
        """Predicts, with whole weights."""
        self.gather()
        with self._precision():
            return self.module.val_step(data)

    def test_step(self, data: Any) -> list:
        """Predicts, with whole weights."""
        self.gather()
        with self._precision():
            return self.module.test_step(data)

    def _precision(self) -> torch.autocast:
        """Blocks gathered in 16 bits predict as they train."""
        mixed = self._gathered and self.param_dtype is not None
        return torch.autocast(get_device(), torch.bfloat16, enabled=mixed)


class ScatterHook(Hook):
    """Shards again after an evaluation, before averages are swapped and the best one is saved."""

    priority = 'VERY_HIGH'

    def after_val_epoch(self, runner: Any, metrics: dict[str, float] | None = None) -> None:
        """Shards again."""
        runner.model.scatter()


@torch.no_grad()
def _share_first(unit: nn.Module, device: str) -> None:
    """Brings what is not sharded yet to the device, with the values of the first process."""
    unit.to(device)
    for tensor in (*unit.parameters(), *unit.buffers()):
        if not hasattr(tensor, 'device_mesh'):
            torch.distributed.broadcast(tensor, 0)


def _recompute(model: nn.Module) -> None:
    modules = [module for module in model.modules() if hasattr(module, 'with_cp')]
    if not modules:
        raise ValueError(
            'with_cp=True of FullySharded switches on the with_cp of encoders and interactions, '
            'and this model has none; leave it out'
        )
    for module in modules:
        module.with_cp = True


def take_shards(module: nn.Module, state_dict: dict[str, Tensor], prefix: str, *_: Any) -> None:
    """A hook before loading: of whole tensors, a sharded module takes its own parts."""
    for name, parameter in module.named_parameters(recurse=False):
        if prefix + name in state_dict:
            state_dict[prefix + name] = shard_like(state_dict[prefix + name], parameter)


def copy_of_shards(module: nn.Module, memo: dict[int, Any] | None = None) -> nn.Module:
    """Names and values of a sharded module, to be averaged; it computes nothing.

    torch's sharded modules refuse ``deepcopy``, by which ``EMAHook`` gets its copy.

    Args:
        module: sharded, or a part of what is.
        memo: what has been copied; modules and parameters with several names stay one.
    """
    memo = {} if memo is None else memo
    copied = memo[id(module)] = nn.Module()
    for name, parameter in module.named_parameters(recurse=False):
        if id(parameter) not in memo:
            memo[id(parameter)] = nn.Parameter(parameter.detach().clone(), requires_grad=False)
        copied.register_parameter(name, memo[id(parameter)])
    for name, buffer in module.named_buffers(recurse=False):
        kept = name not in module._non_persistent_buffers_set
        copied.register_buffer(name, buffer.clone(), persistent=kept)
    for name, child in module._modules.items():
        if child is not None:
            copied.add_module(name, memo.get(id(child)) or copy_of_shards(child, memo))
    copied.register_load_state_dict_pre_hook(take_shards)
    return copied


def asks_to_shard(wrapper: dict[str, Any] | None) -> bool:
    """Whether a configuration of a wrapper is one of ``FullySharded``.

    Raises:
        ValueError: there is no such wrapper, or ``FullySharded`` takes no such argument.
    """
    kind = (wrapper or {}).get('type', 'MMDistributedDataParallel')
    found = MODEL_WRAPPERS.get(kind) if isinstance(kind, str) else kind
    if found is None:
        raise ValueError(
            f'model_wrapper_cfg.type={kind!r}: there is no such wrapper, take one of '
            f'{sorted(MODEL_WRAPPERS.module_dict)}'
        )
    if found is not FullySharded:
        return False
    known = list(inspect.signature(FullySharded).parameters)[1:]
    for name in wrapper:
        if name not in ('type', *known):
            raise ValueError(f'model_wrapper_cfg.{name}: FullySharded takes {", ".join(known)}')
    return True


def wrap_sharded(
    model: nn.Module,
    wrapper: dict[str, Any],
    *,
    sync_bn: Literal['torch', 'mmcv'] | None = None,
    find_unused_parameters: bool = False,
) -> nn.Module:
    """Builds ``FullySharded`` around a model that is still on the CPU and whole.

    Args:
        model: the model.
        wrapper: the wrapper's configuration.
        sync_bn: whose synchronised batch norm takes the place of batch norm, on a GPU.
        find_unused_parameters: as the configuration of the run says.
    """
    if get_device() == 'cpu':
        model = without_sync_bn(model, sync_bn)
    elif sync_bn is not None:
        model = convert_sync_batchnorm(model, sync_bn)
    options = dict(module=model, find_unused_parameters=find_unused_parameters)
    return MODEL_WRAPPERS.build(wrapper, default_args=options)
