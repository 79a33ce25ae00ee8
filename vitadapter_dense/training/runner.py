"""MMEngine's Runner with checked loading, whole checkpoints, exact resume and gloo on the CPU."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mmengine.device import get_device
from mmengine.hooks import EarlyStoppingHook
from mmengine.model import is_model_wrapper
from mmengine.registry import RUNNERS
from torch import nn
from torch.utils.data import DataLoader

from vitadapter_dense.training.accumulation import accumulated_batches
from vitadapter_dense.training.distributed import (
    check_same_software,
    join_processes,
    wrap_for_cpu,
)
from vitadapter_dense.training.early_stopping import EarlyStoppingStateHook
from vitadapter_dense.training.float32_predictions import Float32PredictionsHook
from vitadapter_dense.training.full_disk import full_disk_named
from vitadapter_dense.training.hooks import EvaluationRandomStateHook
from vitadapter_dense.training.idle_parameters import IdleParametersHook
from vitadapter_dense.training.loops import resumable
from vitadapter_dense.training.lost_processes import lost_processes_named
from vitadapter_dense.training.method_losses import MethodLossesHook
from vitadapter_dense.training.normalised_values import NormalisedValuesHook
from vitadapter_dense.training.optimizer_state import name_parameters, wrappers_of
from vitadapter_dense.training.prompt_start import PromptStartHook
from vitadapter_dense.training.resuming_runner import ResumingRunner
from vitadapter_dense.training.schedule_check import ScheduleCheckHook
from vitadapter_dense.training.sharding import (
    FullySharded,
    ScatterHook,
    asks_to_shard,
    wrap_sharded,
)
from vitadapter_dense.training.worker_failures import tell_failures


@RUNNERS.register_module()
class DenseRunner(ResumingRunner):
    """Runner of this project (``runner_type='DenseRunner'``). It takes the arguments of ``Runner``.

    - Checkpoints are read as tensors and plain containers only, compared with the model, and
      refused with a report if too little matches: half of the parameters must for training from
      ``load_from``, all of them for evaluation and for a resume.
    - Checkpoints hold plain data and are written whole or not at all.
    - A resumed run repeats an uninterrupted one, on the CPU bit for bit: generators of every
      process, position in the data, seeds of the samples, gradients of a step that was begun.
      ``save_checkpoint`` must therefore be called in every process, as ``CheckpointHook`` does.
    - A resume with other settings does with each what ``resume_settings`` says.
    - A schedule that does not fit the run's length is said before the first step.
    - Pre-trained encoder weights are not fetched when a checkpoint is about to replace them.
    - Without an accelerator, launchers work over gloo.
    - Batches come through pinned memory where there is a GPU; a batch that a data worker cannot
      hand over is an error.
    """

    def setup_env(self, env_cfg: dict[str, Any]) -> None:
        """Joins the processes, over gloo without an accelerator; the rest is set up as upstream."""
        join_processes(self.launcher, env_cfg)
        super().setup_env(env_cfg)
        check_same_software()

    def wrap_model(self, model_wrapper_cfg: dict[str, Any] | None, model: nn.Module) -> nn.Module:
        """Wraps the model for the processes of the launcher."""
        to_shard = asks_to_shard(model_wrapper_cfg)
        if to_shard and not self.distributed:
            self.logger.info('FullySharded has nothing to do in a single process')
        as_upstream = not self.distributed or is_model_wrapper(model)
        if as_upstream or (get_device() != 'cpu' and not to_shard):
            return super().wrap_model(model_wrapper_cfg, model)
        wrap = wrap_sharded if to_shard else wrap_for_cpu
        return wrap(
            model,
            model_wrapper_cfg,
            sync_bn=self.cfg.get('sync_bn'),
            find_unused_parameters=self.cfg.get('find_unused_parameters', False),
        )

    def train(self) -> nn.Module:
        """Trains; a model that is to be sharded has its first weights before."""
        if isinstance(self.model, FullySharded) and self.mesh is None:
            self._init_model_weights()
            self.model.shard()
        with lost_processes_named(self.timestamp), full_disk_named():
            return super().train()

    def _init_model_weights(self) -> None:
        if self.mesh is None:
            super()._init_model_weights()

    def register_hooks(self, default_hooks: Any = None, custom_hooks: Any = None) -> None:
        """Registers the given hooks, and those without which nothing here would be right."""
        super().register_hooks(default_hooks, custom_hooks)
        self.register_hook(EvaluationRandomStateHook())
        if isinstance(self.model, FullySharded):
            self.register_hook(ScatterHook())
        for kind in (
            Float32PredictionsHook,
            IdleParametersHook,
            MethodLossesHook,
            NormalisedValuesHook,
            PromptStartHook,
            ScheduleCheckHook,
        ):
            if not any(isinstance(hook, kind) for hook in self.hooks):
                self.register_hook(kind())
        for hook in [hook for hook in self.hooks if isinstance(hook, EarlyStoppingHook)]:
            self.hooks.remove(hook)  # it has to count before a best checkpoint is saved
            self.register_hook(hook, priority='LOW')
            self.register_hook(EarlyStoppingStateHook(hook))

    @staticmethod
    def build_dataloader(
        dataloader: DataLoader | dict[str, Any],
        seed: int | None = None,
        diff_rank_seed: bool = False,
    ) -> DataLoader:
        """Builds a loader. With a GPU its batches lie in pinned memory, unless it says otherwise.

        A worker that cannot hand a batch over ends the run.
        """
        if isinstance(dataloader, Mapping):
            dataloader = {'pin_memory': get_device() == 'cuda', **dataloader}
        return tell_failures(ResumingRunner.build_dataloader(dataloader, seed, diff_rank_seed))

    def build_train_loop(self, loop: Any) -> Any:
        """Builds the loop; MMEngine's own loops become the resumable ones."""
        return super().build_train_loop(resumable(loop) if isinstance(loop, dict) else loop)

    def build_optim_wrapper(self, optim_wrapper: Any) -> Any:
        """Builds the optimiser, whose groups know the names of their parameters."""
        built = super().build_optim_wrapper(optim_wrapper)
        name_parameters(built, self.bare_model)
        if isinstance(self.model, FullySharded):
            self.model.check_precision(built)
        return built

    def scale_lr(self, optim_wrapper: Any, auto_scale_lr: dict[str, Any] | None = None) -> None:
        """Scales the learning rates with the images of an optimiser step.

        MMEngine's leaves out accumulated batches, and the base rate that is logged.
        """
        if not auto_scale_lr or not auto_scale_lr.get('enable', False):
            return
        base = auto_scale_lr['base_batch_size']
        batch = self.world_size * self.train_dataloader.batch_sampler.batch_size
        for wrapper in wrappers_of(optim_wrapper).values():
            images = batch * accumulated_batches(wrapper)
            self.logger.info(
                f'the learning rate is meant for {base} images a step, there are {images}: it is '
                f'multiplied by {images / base:g}'
            )
            for group in wrapper.param_groups:
                group['lr'] = group['lr'] * (images / base)
