"""MMEngine's Runner with checked loading, whole checkpoints, exact resume and gloo on the CPU."""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from mmengine.device import get_device
from mmengine.dist import all_gather_object, is_distributed, is_main_process
from mmengine.fileio import join_path
from mmengine.hooks import EarlyStoppingHook, EMAHook
from mmengine.logging import print_log
from mmengine.model import BaseTTAModel, is_model_wrapper
from mmengine.registry import RUNNERS
from mmengine.runner import Runner
from torch import nn

from vitadapter_dense.checkpoints.checked_loading import (
    LoadReport,
    load_checked,
    read_checkpoint,
    state_dict_of,
)
from vitadapter_dense.checkpoints.files import latest_checkpoint, write_checkpoint
from vitadapter_dense.checkpoints.plain_data import hub_from_plain, to_plain
from vitadapter_dense.training.accumulation import (
    accumulated_batches,
    begun_steps,
    continue_steps,
)
from vitadapter_dense.training.checkpoint_content import checkpoint_of
from vitadapter_dense.training.distributed import join_cpu_processes, wrap_for_cpu
from vitadapter_dense.training.early_stopping import EarlyStoppingStateHook
from vitadapter_dense.training.finite import refuse_broken
from vitadapter_dense.training.float32_predictions import Float32PredictionsHook
from vitadapter_dense.training.hooks import EvaluationRandomStateHook
from vitadapter_dense.training.idle_parameters import IdleParametersHook
from vitadapter_dense.training.loops import resumable
from vitadapter_dense.training.normalised_values import NormalisedValuesHook
from vitadapter_dense.training.optimizer_state import (
    load_moments,
    name_parameters,
    wrappers_of,
)
from vitadapter_dense.training.random_state import random_state, set_random_state
from vitadapter_dense.training.resume import (
    check_content,
    check_model,
    check_optimizer,
    check_position,
    check_settings,
    own_random_state,
)
from vitadapter_dense.training.schedule_check import ScheduleCheckHook
from vitadapter_dense.training.schedules import advance, is_measured, load_measured
from vitadapter_dense.tuning.delta import BASE, complete_state_dict, is_delta, needs_pretrained


def go_on_from(runner: Runner, checkpoint: str | Path, *, accept_changes: bool) -> None:
    """Has a runner resume a checkpoint, without a word of it in the configuration that it writes.

    Args:
        runner: any runner, before it trains.
        checkpoint: the file.
        accept_changes: go on although settings differ; the configuration may say so itself.
    """
    runner._resume, runner._load_from = True, str(checkpoint)
    if accept_changes:
        runner.cfg.accept_changes = True


@RUNNERS.register_module()
class DenseRunner(Runner):
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
        for kind in (
            Float32PredictionsHook,
            IdleParametersHook,
            NormalisedValuesHook,
            ScheduleCheckHook,
        ):
            if not any(isinstance(hook, kind) for hook in self.hooks):
                self.register_hook(kind())
        for hook in [hook for hook in self.hooks if isinstance(hook, EarlyStoppingHook)]:
            self.hooks.remove(hook)  # it has to count before a best checkpoint is saved
            self.register_hook(hook, priority='LOW')
            self.register_hook(EarlyStoppingStateHook(hook))

    def build_train_loop(self, loop: Any) -> Any:
        """Builds the loop; MMEngine's own loops become the resumable ones."""
        return super().build_train_loop(resumable(loop) if isinstance(loop, dict) else loop)

    def build_optim_wrapper(self, optim_wrapper: Any) -> Any:
        """Builds the optimiser, whose groups know the names of their parameters."""
        built = super().build_optim_wrapper(optim_wrapper)
        name_parameters(built, self.bare_model)
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
            resume_optimizer: take over what the optimiser has gathered; its options are this
                config's.
            resume_param_scheduler: take the schedulers to the checkpoint's position.
            map_location: device of the tensors while they are read.

        Raises:
            WeightsError: the file cannot be read safely, lacks what a resume needs, is of another
                model, or of a run with other settings that were not accepted. Nothing has been
                changed then.
        """
        checkpoint = read_checkpoint(filename, map_location)
        check_content(checkpoint, filename, optimizer=resume_optimizer)
        stopping = check_settings(
            checkpoint, self, filename, config_text=self.config_text, seed=self.configured_seed
        )
        accepted = {change.key for change in stopping}
        check_model(self.bare_model, checkpoint, filename)
        check_position(checkpoint, self, filename)
        self.optim_wrapper = self.build_optim_wrapper(self.optim_wrapper)
        # Moments of one type of optimiser mean nothing to another.
        moments = resume_optimizer and not any(key.endswith('optimizer.type') for key in accepted)
        if moments:
            check_optimizer(self.optim_wrapper, checkpoint['optimizer'], filename)
        schedules = resume_param_scheduler and self.param_schedulers is not None
        if schedules:
            self.param_schedulers = self.build_param_scheduler(self.param_schedulers)
            if is_measured(self.param_schedulers):
                load_measured(
                    self.param_schedulers,
                    checkpoint.get('param_schedulers'),
                    self.optim_wrapper,
                    checkpoint.get('optimizer', {}),
                )
                schedules = False

        if 'ema_state_dict' in checkpoint and not self._has_hook(EMAHook):
            _take_averaged_apart(checkpoint)
        self.call_hook('after_load_checkpoint', checkpoint=checkpoint)
        load_checked(
            self.bare_model,
            state_dict_of(checkpoint),
            min_share=1.0,
            what=f'checkpoint {filename}',
        )
        if moments:
            load_moments(self.optim_wrapper, checkpoint['optimizer'], filename)
            continue_steps(self.optim_wrapper, self.bare_model, checkpoint.get('begun_steps', {}))
        self._resume_hub(checkpoint['message_hub'])
        new_seed = 'randomness.seed' in accepted
        if not new_seed:
            self._take_over_seed(checkpoint['meta'].get('seed'))
        self._resume_loop(checkpoint, new_seed=new_seed)
        if schedules:
            advance(
                self.param_schedulers,
                iteration=self.iter,
                epoch=self.epoch,
                epoch_length=len(self.train_dataloader),
            )
        self._has_loaded = True
        self.logger.info(f'resumed {filename} at epoch {self.epoch}, iteration {self.iter}')

    def _has_hook(self, kind: type) -> bool:
        return any(isinstance(hook, kind) for hook in self.hooks)

    def _resume_hub(self, state: Mapping[str, Any]) -> None:
        """Takes over what was measured; what describes a run describes this one."""
        own = {
            key: self.message_hub.runtime_info[key]
            for key in ('cfg', 'experiment_name', 'mmengine_version')
            if key in self.message_hub.runtime_info
        }
        self.message_hub.load_state_dict(hub_from_plain(state))
        self.message_hub.update_info_dict(own)

    @property
    def configured_seed(self) -> int | None:
        """The seed that the config asks for."""
        return self._randomness_cfg.get('seed')

    def _take_over_seed(self, seed: int | None) -> None:
        if seed is not None and seed != self.configured_seed:
            self._randomness_cfg.update(seed=seed)
            self.set_randomness(**self._randomness_cfg)

    def _resume_loop(self, checkpoint: Mapping[str, Any], *, new_seed: bool) -> None:
        epoch, iteration = checkpoint['meta']['epoch'], checkpoint['meta']['iter']
        state = None
        if not new_seed:
            state = own_random_state(checkpoint, self.rank, self.world_size)
        if hasattr(self.train_loop, 'resume_at'):
            data = checkpoint.get('random_state', {}).get('data')
            if data and new_seed:
                own_seed = self.train_loop.batches.seed
                data = dict(data, sample_seed=own_seed, sampler_seed=None)
            self.train_loop.resume_at(epoch=epoch, iteration=iteration, data=data, state=state)
            return
        self.train_loop._epoch, self.train_loop._iter = epoch, iteration
        if state is not None:
            set_random_state(state)

    # ------------------------------------------------------------------ saving

    @cached_property
    def config_text(self) -> str:
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

        Raises:
            NotFiniteError: weights are NaN or infinite; nothing is written, in no process.
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
        begun = begun_steps(self.optim_wrapper, self.bare_model) if save_optimizer else {}
        checkpoint: dict[str, Any] = {}
        if is_main_process():
            checkpoint = checkpoint_of(
                self,
                dict(meta, cfg=self.config_text),
                model=self.bare_model,
                states=states,
                begun=begun,
                optimizer=save_optimizer,
                schedulers=save_param_scheduler,
            )
            self.call_hook('before_save_checkpoint', checkpoint=checkpoint)
        path = join_path(out_dir, filename, backend_args=backend_args)
        refuse_broken(checkpoint.get('state_dict', {}), self.bare_model, path)
        if is_main_process():
            write_checkpoint(to_plain(checkpoint), path, backend_args=backend_args)


def _take_averaged_apart(checkpoint: dict[str, Any]) -> None:
    """Puts the weights of training where ``EMAHook`` has saved their average."""
    prefix, averaged = 'module.', checkpoint['ema_state_dict']
    own = {n.removeprefix(prefix): t for n, t in averaged.items() if n.startswith(prefix)}
    checkpoint['state_dict'] = {**checkpoint['state_dict'], **own}
    print_log(
        'the checkpoint has averaged weights and this run no EMAHook: it goes on from those that '
        'were averaged, and the average ends here',
        logger='current',
        level=logging.WARNING,
    )


def _revised(state_dict: dict[str, Any], revise_keys: Sequence[tuple[str, str]]) -> dict[str, Any]:
    for pattern, replacement in revise_keys:
        state_dict = {
            re.sub(pattern, replacement, name): tensor for name, tensor in state_dict.items()
        }
    return state_dict
