"""A runner that goes on from a checkpoint as if the run had never stopped."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mmengine.dist import is_main_process
from mmengine.hooks import EMAHook
from mmengine.logging import print_log
from mmengine.runner import Runner

from vitadapter_dense.checkpoints.checked_loading import load_checked, state_dict_of
from vitadapter_dense.checkpoints.files import write_pointer
from vitadapter_dense.checkpoints.plain_data import hub_from_plain
from vitadapter_dense.training.accumulation import continue_steps
from vitadapter_dense.training.optimizer_state import load_moments
from vitadapter_dense.training.random_state import set_random_state
from vitadapter_dense.training.resume import (
    check_content,
    check_model,
    check_optimizer,
    check_position,
    check_settings,
    own_random_state,
)
from vitadapter_dense.training.saving_runner import SavingRunner
from vitadapter_dense.training.schedules import advance, is_measured, load_measured


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


class ResumingRunner(SavingRunner):
    """Repeats an uninterrupted run after a stop, on the CPU bit for bit.

    Generators of every process, the position in the data, seeds of the samples and gradients of a
    step that was begun are taken over. With settings that differ it does what ``resume_settings``
    says.
    """

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
        checkpoint = self.read(filename, map_location)
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
        if is_main_process() and Path(filename).absolute().parent == Path(self.work_dir).absolute():
            write_pointer(self.work_dir, str(filename))  # a run started again begins here as well
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
