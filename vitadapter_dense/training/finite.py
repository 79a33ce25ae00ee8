"""Ends a run whose losses or gradients are no numbers any more, and keeps them out of the weights.

MMEngine trains on with NaN to the end and writes it over every good checkpoint. Here a step whose
gradients are not finite changes nothing, and a few such steps end the run.
"""

from __future__ import annotations

import logging
import math
from collections import deque
from collections.abc import Iterator, Mapping
from typing import Any

import torch
import torch.distributed
from mmengine.dist import all_gather_object, get_world_size
from mmengine.hooks import Hook
from mmengine.logging import HistoryBuffer, MessageHub, print_log
from mmengine.registry import HOOKS
from mmengine.runner import Runner
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase
from torch.nn.utils import get_total_norm

from vitadapter_dense.checkpoints.checked_loading import broken_names
from vitadapter_dense.checkpoints.sharded_tensors import own_part, whole
from vitadapter_dense.training.optimizer_state import wrappers_of

_SHOWN = 6
_ADVICE = (
    ' Likely causes: a learning rate that is too high, gradients that need clipping '
    '(optim_wrapper.clip_grad), float16 (bfloat16 reaches further), images or annotations that are '
    'broken. A resume with the same settings ends the same way.'
)


class NotFiniteError(ArithmeticError):
    """Losses, gradients or weights are NaN or infinite."""


@HOOKS.register_module()
class FiniteLossHook(Hook):
    """Leaves out steps with gradients that are not finite, and ends a run that has several.

    The optimiser is given no gradients for such a step: weights and moments stay as they are, and
    running statistics of norms are put back. Data-parallel processes have the same gradients, so
    all leave it out. (A float16 run's scaler does so too, and lowers its scale; that alone is no
    fault.) Losses that are not finite are named with the images of the batch and kept out of the
    log's averages. The price is the norm of the gradients and one wait for the device a step, where
    MMEngine waits once for each logged loss.

    Args:
        max_steps: the run ends at so many such steps (of the optimiser, however many batches each).
        within: only those among the last `within` steps count.

    Raises:
        NotFiniteError: in every process at the same iteration.
    """

    priority = 'HIGH'  # after the losses are logged, and before moving averages are taken

    def __init__(self, max_steps: int = 3, within: int = 50) -> None:
        if max_steps < 1 or within < max_steps:
            raise ValueError(
                f'max_steps={max_steps} within={within} steps: both are at least 1, and within is '
                'not the smaller one'
            )
        self.max_steps = max_steps
        self.within = within
        self._found: deque[int] = deque(maxlen=max_steps)
        self._left_out: list[str] | None = None
        self._stepped = False
        self._statistics: tuple[list[Tensor], list[Tensor]] = ([], [])
        self._handles: list[Any] = []

    # ------------------------------------------------------------------ before the optimiser

    def before_train(self, runner: Runner) -> None:
        """Has every optimiser ask before it steps."""
        self._found.clear()
        self._first = self._step(runner)
        names = {parameter: name for name, parameter in bare(runner.model).named_parameters()}
        self._handles = [
            wrapper.optimizer.register_step_pre_hook(
                lambda optimizer, args, kwargs: self._before_step(optimizer, names)
            )
            for wrapper in wrappers_of(runner.optim_wrapper).values()
        ]
        live = list(_statistics(bare(runner.model)))
        self._statistics = (live, [tensor.clone() for tensor in live])

    def after_train(self, runner: Runner) -> None:
        """Leaves the optimisers as they were; a short run may end before it has too many."""
        for handle in self._handles:
            handle.remove()
        last = self._step(runner, runner.iter - 1)
        recent = sum(last - step < self.within for step in self._found)
        if recent and 2 * recent >= min(self.within, last - self._first + 1):
            raise NotFiniteError(
                f'{recent} of the last steps had losses or gradients that are not finite.'
                f'{_advice(runner)}'
            )

    @staticmethod
    def _step(runner: Runner, iteration: int | None = None) -> int:
        """The number of the optimiser's step that an iteration belongs to."""
        iteration = runner.iter if iteration is None else iteration
        return iteration // getattr(runner.optim_wrapper, '_accumulative_counts', 1)

    def _before_step(self, optimizer: torch.optim.Optimizer, names: Mapping[Tensor, str]) -> None:
        self._stepped = True
        learnt = [
            parameter
            for group in optimizer.param_groups
            for parameter in group['params']
            if parameter.grad is not None
        ]
        if not learnt or bool(whole(get_total_norm([p.grad for p in learnt])).isfinite()):
            return
        broken = [p for p in learnt if not own_part(p.grad).isfinite().all()]
        self._left_out = [names.get(parameter, 'one without a name') for parameter in broken]
        for parameter in learnt:
            parameter.grad = None  # every optimiser of torch passes over those

    def before_train_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None) -> None:
        """Remembers the running statistics before the step."""
        self._stepped, self._left_out = False, None
        self._copy_statistics(back=False)

    def _copy_statistics(self, *, back: bool) -> None:
        live, kept = self._statistics
        if live:
            torch._foreach_copy_(*((live, kept) if back else (kept, live)))

    # ------------------------------------------------------------------- after the optimiser

    def after_train_iter(
        self,
        runner: Runner,
        batch_idx: int,
        data_batch: Any = None,
        outputs: Mapping[str, Any] | None = None,
    ) -> None:
        """Warns of a step that is not finite, and ends the run at the last one that may be."""
        reasons = broken_losses(outputs or {})
        if self._left_out is not None:
            shown = f': those of {_listed(self._left_out)}' if self._left_out else ''
            reasons.append(f'gradients that are not finite{shown}')
        elif self._overflows(runner.optim_wrapper):
            reasons.append('gradients that overflow at any scale of float16')
        if not _anywhere(bool(reasons), runner.model):
            return
        self._copy_statistics(back=True)
        _forget_last(runner.message_hub)
        told = self._tell(runner, reasons, image_files(data_batch))
        step = self._step(runner)
        if step not in self._found:
            self._found.append(step)
        if len(self._found) == self.max_steps and step - self._found[0] < self.within:
            raise NotFiniteError(
                f'{told} It is number {self.max_steps} within {self.within} steps: training ends.'
                f'{_advice(runner)}'
            )
        print_log(told, logger='current', level=logging.WARNING)

    def _overflows(self, wrapper: Any) -> bool:
        """Whether a gradient scaler leaves steps out that no lower scale will mend."""
        scaler = getattr(wrapper, 'loss_scaler', None)
        if scaler is None or not scaler.is_enabled() or self._stepped:
            return False
        if not wrapper.should_update():
            return False
        return wrapper._scale_update_param is not None or scaler.get_scale() < 1

    def _tell(self, runner: Runner, reasons: list[str], images: list[str]) -> str:
        """One sentence about the step, the same in all processes."""
        gathered = all_gather_object((reasons, images if reasons else []))
        reasons = list(dict.fromkeys(reason for found, _ in gathered for reason in found))
        images = [image for _, files in gathered for image in files]
        batch = f' The batch: {_listed(images)}.' if images else ''
        return (
            f'Iteration {runner.iter + 1} has {_listed(reasons)}. It changes no weights where its '
            f'gradients are not finite.{batch}'
        )


def broken_losses(outputs: Mapping[str, Any]) -> list[str]:
    """The losses of a step that are NaN or infinite, each with `name = value`."""
    losses = {
        n: torch.as_tensor(v).float().mean().item() for n, v in outputs.items() if 'loss' in n
    }
    return [f'{name} = {value}' for name, value in losses.items() if not math.isfinite(value)]


def image_files(data_batch: Any) -> list[str]:
    """The image files of a batch of either toolbox; none for other data."""
    samples = data_batch.get('data_samples') if isinstance(data_batch, Mapping) else None
    return [str(s.img_path) for s in _flat(samples) if getattr(s, 'img_path', None)]


def refuse_broken(state_dict: Mapping[str, Any], model: nn.Module, path: str) -> None:
    """Raises `NotFiniteError`, in every process, if the state, or a part of it, is not finite."""
    found = all_gather_object(broken_names(state_dict, model))
    broken = list(dict.fromkeys(name for names in found for name in names))
    if broken:
        raise NotFiniteError(
            f'{path} is not written: {len(broken)} of its tensors are NaN or infinite: '
            f'{_listed(broken)}. Earlier checkpoints stay.{_ADVICE}'
        )


def bare(model: nn.Module) -> nn.Module:
    """A model without the wrapper of several processes."""
    return getattr(model, 'module', model)


def _forget_last(hub: MessageHub) -> None:
    """Takes values of the last step out of the log: one NaN would spoil many steps' averages."""
    for key, buffer in list(hub.log_scalars.items()):
        values, counts = buffer.data
        if key.startswith('train/') and len(values) and not math.isfinite(values[-1]):
            hub.log_scalars[key] = HistoryBuffer(values[:-1], counts[:-1])
            if len(values) == 1:
                del hub.log_scalars[key]


def _anywhere(found: bool, model: nn.Module) -> bool:
    """Whether any process has found something; it is then known to all."""
    if get_world_size() == 1:
        return found
    flag = torch.tensor([float(found)], device=next(model.parameters()).device)
    torch.distributed.all_reduce(flag)
    return bool(flag.item())


def _statistics(model: nn.Module) -> Iterator[Tensor]:
    for module in model.modules():
        if isinstance(module, _NormBase) and module.running_mean is not None:
            yield from (module.running_mean, module.running_var)


def _advice(runner: Runner) -> str:
    broken = broken_names(bare(runner.model).state_dict(), bare(runner.model))
    weights = f' The weights are not finite either: {_listed(broken)}.' if broken else ''
    return f'{weights}{_ADVICE}'


def _listed(words: list[str]) -> str:
    more = len(words) - _SHOWN
    return ', '.join(words[:_SHOWN]) + (f' and {more} more' if more > 0 else '')


def _flat(samples: Any) -> Iterator[Any]:
    if isinstance(samples, (list, tuple)):
        for sample in samples:
            yield from _flat(sample)
    elif samples is not None:
        yield samples
