"""MMEngine's Runner with checked loading, whole checkpoints, exact resume and gloo on the CPU."""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

from mmengine.device import get_device
from mmengine.dist import all_gather_object, is_distributed, is_main_process
from mmengine.fileio import join_path
from mmengine.logging import print_log
from mmengine.model import BaseTTAModel, is_model_wrapper
from mmengine.registry import RUNNERS
from mmengine.runner import Runner
from torch import nn

from vitadapter_dense.encoders.weights import (
    LoadReport,
    load_checked,
    read_checkpoint,
    state_dict_of,
)
from vitadapter_dense.engine.checkpoint_content import checkpoint_of
from vitadapter_dense.engine.checkpoint_files import latest_checkpoint, write_checkpoint
from vitadapter_dense.engine.delta import BASE, complete_state_dict, is_delta, needs_pretrained
from vitadapter_dense.engine.distributed import join_cpu_processes, wrap_for_cpu
from vitadapter_dense.engine.float32_predictions import Float32PredictionsHook
from vitadapter_dense.engine.hooks import EvaluationRandomStateHook
from vitadapter_dense.engine.idle_parameters import IdleParametersHook
from vitadapter_dense.engine.loops import resumable
from vitadapter_dense.engine.normalised_values import NormalisedValuesHook
from vitadapter_dense.engine.plain_data import hub_from_plain, to_plain
from vitadapter_dense.engine.random_state import random_state, set_random_state
from vitadapter_dense.engine.resume import (
    check_content,
    check_model,
    check_optimizer,
    own_random_state,
    pair_schedulers,
)


@RUNNERS.register_module()
class DenseRunner(Runner):
    """Runner of this project (``runner_type='DenseRunner'``). It takes the arguments of ``Runner``.

    - Checkpoints are read as tensors and plain containers only, compared with the model, and
      refused with a report if too little matches: half of the parameters must for training from
      ``load_from``, all of them for evaluation and for a resume.
    - Checkpoints hold plain data and are written whole or not at all.
    - A resumed run repeats an uninterrupted one, on the CPU bit for bit: generators of every
      process, position in the data, seeds of the samples. ``save_checkpoint`` must therefore be
      called in every process, as ``CheckpointHook`` does.
    - Pre-trained encoder weights are not fetched when a checkpoint is about to replace them.
    - Without an accelerator, launchers work over gloo.
    """

    _min_share = 1.0
    _held_random_state: dict[str, Any] | None = None
    _read_ahead: tuple[str, dict[str, Any]] | None = None

    # ------------------------------------------------------------------ set-up

    def setup_env(self, env_cfg: dict[str, Any]) -> None:
        """Joins the processes, over gloo without an accelerator; the rest is set up as upstream."""
        if self.distributed and not is_distributed() and get_device() == 'cpu':
            join_cpu_processes(self.launcher, timeout=env_cfg.get('dist_cfg', {}).get('timeout'))
        super().setup_env(env_cfg)

    def wrap_model(self, model_wrapper_cfg: dict[str, Any] | None, model: nn.Module) -> nn.Module:
        """Wraps the model for the processes of the launcher."""
        if not self.distributed or get_device() != 'cpu' or is_model_wrapper(model):
            return super().wrap_model(model_wrapper_cfg, model)
        return wrap_for_cpu(
            model,
            model_wrapper_cfg,
            sync_bn=self.cfg.get('sync_bn'),
            find_unused_parameters=self.cfg.get('find_unused_parameters', False),
        )

    def register_hooks(self, default_hooks: Any = None, custom_hooks: Any = None) -> None:
        """Registers the given hooks, and those without which nothing here would be right."""
        super().register_hooks(default_hooks, custom_hooks)
        self.register_hook(EvaluationRandomStateHook())
        for kind in (Float32PredictionsHook, IdleParametersHook, NormalisedValuesHook):
            if not any(isinstance(hook, kind) for hook in self.hooks):
                self.register_hook(kind())

    def build_train_loop(self, loop: Any) -> Any:
        """Builds the loop; MMEngine's own loops become the resumable ones."""
        return super().build_train_loop(resumable(loop) if isinstance(loop, dict) else loop)

    def train(self) -> nn.Module:
        """Trains, from ``load_from``, from a resumed checkpoint or from the start."""
        self._min_share = 0.5
        return super().train()

    @property
    def bare_model(self) -> nn.Module:
        """The model without the wrappers of several processes and of test-time augmentation."""
        model = self.model
        while is_model_wrapper(model) or isinstance(model, BaseTTAModel):
            model = model.module
        return model

    # ----------------------------------------------------------------- loading

    def _checkpoint_to_read(self) -> str | None:
        if self._resume and self._load_from is None:
            return latest_checkpoint(self.work_dir)
        return self._load_from

    def _init_model_weights(self) -> None:
        """Initialises the weights; fetches no pre-trained ones if a checkpoint replaces them."""
        path = self._checkpoint_to_read()
        if path is not None and not self._has_loaded and not self._needs_pretrained(path):
            for module in self.bare_model.modules():
                if hasattr(module, 'pretrained'):
                    module.skip_pretrained = True
                init_cfg = getattr(module, 'init_cfg', None)
                if isinstance(init_cfg, Mapping) and init_cfg.get('type') == 'Pretrained':
                    module.init_cfg = None
        super()._init_model_weights()

    def _needs_pretrained(self, path: str) -> bool:
        """Whether a checkpoint is a delta to pre-trained weights, which are fetched then."""
        if self._resume:
            return False
        self._read_ahead = (path, read_checkpoint(path))
        return needs_pretrained(self._read_ahead[1])

    def load_or_resume(self) -> None:
        """Loads or resumes the checkpoint that the config asks for, once."""
        if self._has_loaded:
            return
        checkpoint = self._checkpoint_to_read()
        if checkpoint is None:
            if self._resume:
                self.logger.info(
                    f'no checkpoint in {self.work_dir} yet: training starts from the beginning'
                )
        elif self._resume:
            self.resume(checkpoint)
        else:
            self.load_checkpoint(checkpoint)

    def load_checkpoint(
        self,
        filename: str,
        map_location: str = 'cpu',
        strict: bool = False,
        revise_keys: Sequence[tuple[str, str]] = ((r'^module\.', ''),),
    ) -> dict[str, Any]:
        """Loads weights into the model and reports what matched.

        Args:
            filename: file or URL.
            map_location: device of the tensors while they are read.
            strict: every parameter must match, whatever the run is for.
            revise_keys: ``(pattern, replacement)`` of regular expressions applied to the names.

        Returns:
            The checkpoint.

        Raises:
            WeightsError: the file cannot be read safely, or too little of it matches; the model is
                unchanged then.
        """
        path, checkpoint = self._read_ahead or (None, {})
        self._read_ahead = None
        if path != filename or map_location != 'cpu':
            checkpoint = read_checkpoint(filename, map_location)
        if 'state_dict' not in checkpoint:
            checkpoint = dict(state_dict=state_dict_of(checkpoint))
        if is_delta(checkpoint):  # whole for the hooks too, of which EMAHook loads it
            whole = complete_state_dict(self.bare_model, checkpoint, filename)
            checkpoint = dict(checkpoint, state_dict=whole)
        self.call_hook('after_load_checkpoint', checkpoint=checkpoint)
        report = load_checked(
            self.bare_model,
            _revised(state_dict_of(checkpoint), revise_keys),
            min_share=1.0 if strict else self._min_share,
            what=f'checkpoint {filename}',
        )
        if is_delta(checkpoint):
            self.message_hub.update_info(BASE, checkpoint['delta']['base'])
        self._has_loaded = True
        self._log_report(filename, report)
        return checkpoint

    def _log_report(self, filename: str, report: LoadReport) -> None:
        complete = not (report.missing or report.mismatched or report.unexpected)
        print_log(
            f'loaded {filename}: {report}',
            logger='current',
            level=logging.INFO if complete else logging.WARNING,
        )

    # ------------------------------------------------------------------ resume

    def resume(
        self,
        filename: str,
        resume_optimizer: bool = True,
        resume_param_scheduler: bool = True,
        map_location: str = 'cpu',
    ) -> None:
        """Goes on from a checkpoint as if the run had never stopped.

        Args:
            filename: checkpoint saved by this runner (one of MMEngine's runner resumes too, without
                random state).
            resume_optimizer: take over the optimiser's state.
            resume_param_scheduler: take over the schedulers' states.
            map_location: device of the tensors while they are read.

        Raises:
            WeightsError: the file cannot be read safely, lacks what a resume needs, or is of
                another model or optimiser. Nothing has been changed then.
        """
        checkpoint = read_checkpoint(filename, map_location)
        check_content(checkpoint, filename, optimizer=resume_optimizer)
        check_model(self.bare_model, checkpoint, filename)
        self.optim_wrapper = self.build_optim_wrapper(self.optim_wrapper)
        if resume_optimizer:
            check_optimizer(self.optim_wrapper, checkpoint['optimizer'], filename)
        schedulers = []
        if resume_param_scheduler and self.param_schedulers is not None:
            self.param_schedulers = self.build_param_scheduler(self.param_schedulers)
            schedulers = pair_schedulers(self.param_schedulers, checkpoint.get('param_schedulers'))

        self.call_hook('after_load_checkpoint', checkpoint=checkpoint)
        load_checked(
            self.bare_model,
            state_dict_of(checkpoint),
            min_share=1.0,
            what=f'checkpoint {filename}',
        )
        self._take_over_seed(checkpoint['meta'].get('seed'))
        self.message_hub.load_state_dict(hub_from_plain(checkpoint['message_hub']))
        if resume_optimizer:
            self.optim_wrapper.load_state_dict(checkpoint['optimizer'])
        for scheduler, state in schedulers:
            scheduler.load_state_dict(state)
        self._resume_loop(checkpoint)
        self._has_loaded = True
        self.logger.info(f'resumed {filename} at epoch {self.epoch}, iteration {self.iter}')

    def _take_over_seed(self, seed: int | None) -> None:
        configured = self._randomness_cfg.get('seed')
        if seed is None or seed == configured:
            return
        if configured is not None:
            self.logger.warning(
                f'the seed of the checkpoint ({seed}) replaces the one of the config ({configured})'
            )
        self._randomness_cfg.update(seed=seed)
        self.set_randomness(**self._randomness_cfg)

    def _resume_loop(self, checkpoint: Mapping[str, Any]) -> None:
        epoch, iteration = checkpoint['meta']['epoch'], checkpoint['meta']['iter']
        state = own_random_state(checkpoint, self.rank, self.world_size)
        if hasattr(self.train_loop, 'resume_at'):
            data = checkpoint.get('random_state', {}).get('data')
            self.train_loop.resume_at(epoch=epoch, iteration=iteration, data=data, state=state)
            return
        self.train_loop._epoch, self.train_loop._iter = epoch, iteration
        if state is not None:
            set_random_state(state)

    # ------------------------------------------------------------------ saving

    @cached_property
    def _config_text(self) -> str:
        """The config as text; formatting takes seconds, too long for every checkpoint."""
        return self.cfg.pretty_text

    def hold_random_state(self) -> None:
        """Remembers the random state, to be put back by ``release_random_state``."""
        self._held_random_state = random_state()

    def release_random_state(self) -> None:
        """Puts the remembered random state back."""
        if self._held_random_state is not None:
            set_random_state(self._held_random_state)
            self._held_random_state = None

    def save_checkpoint(
        self,
        out_dir: str,
        filename: str,
        file_client_args: None = None,
        save_optimizer: bool = True,
        save_param_scheduler: bool = True,
        meta: dict[str, Any] | None = None,
        by_epoch: bool = True,
        backend_args: dict[str, Any] | None = None,
    ) -> None:
        """Saves a checkpoint, whole or not at all. Every process must call it; the first writes.

        Args:
            out_dir: folder, or URI of a storage backend.
            filename: name in the folder.
            file_client_args: not supported, use ``backend_args``.
            save_optimizer: save what a resume needs besides the schedulers: optimiser and random
                state.
            save_param_scheduler: save the schedulers.
            meta: entries for the checkpoint's ``meta``.
            by_epoch: the checkpoint is taken at the end of an epoch, not of an iteration.
            backend_args: arguments of the storage backend.
        """
        if file_client_args is not None:
            raise ValueError(
                f'file_client_args={file_client_args} is not supported; use backend_args'
            )
        meta = dict(meta or {})
        # The loop counts up after its hooks have run.
        meta.setdefault('epoch', self.epoch + 1 if by_epoch else self.epoch)
        meta.setdefault('iter', self.iter if by_epoch else self.iter + 1)
        states = (
            all_gather_object(self._held_random_state or random_state()) if save_optimizer else []
        )
        if not is_main_process():
            return

        checkpoint = checkpoint_of(
            self,
            dict(meta, cfg=self._config_text),
            states=states,
            optimizer=save_optimizer,
            schedulers=save_param_scheduler,
        )
        self.call_hook('before_save_checkpoint', checkpoint=checkpoint)
        path = join_path(out_dir, filename, backend_args=backend_args)
        write_checkpoint(to_plain(checkpoint), path, backend_args=backend_args)


def _revised(state_dict: dict[str, Any], revise_keys: Sequence[tuple[str, str]]) -> dict[str, Any]:
    for pattern, replacement in revise_keys:
        state_dict = {
            re.sub(pattern, replacement, name): tensor for name, tensor in state_dict.items()
        }
    return state_dict
