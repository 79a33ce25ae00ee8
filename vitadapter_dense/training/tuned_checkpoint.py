"""``TunedCheckpointHook``: beside every checkpoint a small one with what was tuned alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mmengine.dist import is_main_process
from mmengine.logging import print_log
from mmengine.registry import HOOKS

from vitadapter_dense.checkpoints.checked_loading import WeightsError, hash_of, read_checkpoint
from vitadapter_dense.checkpoints.files import is_local, size_of, write_checkpoint
from vitadapter_dense.training.hooks import AtomicCheckpointHook
from vitadapter_dense.tuning.delta import (
    BASE,
    frozen_names,
    make_delta,
    notes,
    pretrained_sources,
    tuned_backbones,
)

_PREFIX = 'tuned_'


@HOOKS.register_module()
class TunedCheckpointHook(AtomicCheckpointHook):
    """``AtomicCheckpointHook`` that also writes deltas, ``tuned_epoch_3.pth`` for ``epoch_3.pth``.

    Resuming needs the whole checkpoints; everything else takes a delta as it takes any checkpoint.
    A delta comes and goes with its checkpoint. Where nothing is frozen, none is written. It takes
    the arguments of ``CheckpointHook``.
    """

    _frozen: list[str]
    _hash: str
    _base: dict[str, Any]
    _notes: dict[str, dict[str, Any]]

    def before_train(self, runner: Any) -> None:
        """Finds what is frozen and where it comes from.

        Raises:
            WeightsError: the model has no tuned backbone, nothing names the weights that it is
                tuned from, or checkpoints go to an object store.
        """
        super().before_train(runner)
        model = runner.bare_model
        if next(tuned_backbones(model), None) is None:
            raise WeightsError(
                'TunedCheckpointHook is for models with a tuning method; take '
                "type='AtomicCheckpointHook' for this one"
            )
        if not is_local(self.out_dir, self.backend_args):
            raise WeightsError(f'TunedCheckpointHook writes to folders only, not to {self.out_dir}')
        self._frozen = frozen_names(model)
        if not self._frozen:
            print_log('the method freezes nothing: there will be no deltas', logger='current')
            return
        self._base = runner.message_hub.runtime_info.get(BASE) or self._find_base(runner)
        runner.message_hub.update_info(BASE, self._base)
        self._hash = hash_of(model.state_dict(), self._frozen)
        self._notes = notes(model, self._base)

    def _find_base(self, runner: Any) -> dict[str, Any]:
        if runner._load_from and not runner._resume:
            return dict(checkpoint=str(runner._load_from))
        sources = pretrained_sources(runner.bare_model)
        if not sources:
            raise WeightsError(
                'the frozen part of the model has no base weights: a delta could never be loaded. '
                'Name pre-trained weights in the config, or a checkpoint with load_from'
            )
        return dict(pretrained=sources)

    def _save_checkpoint_with_step(self, runner: Any, step: int, meta: dict[str, Any]) -> None:
        super()._save_checkpoint_with_step(runner, step, meta)
        self._write_delta(self.last_ckpt)

    def _save_best_checkpoint(self, runner: Any, metrics: dict[str, Any]) -> None:
        before = set(self._best_paths().values()) if self.save_best else set()
        super()._save_best_checkpoint(runner, metrics)
        if self.save_best:
            for path in set(self._best_paths().values()) - before - {None}:
                self._write_delta(path)

    def _write_delta(self, path: str) -> None:
        if not self._frozen or not is_main_process():
            return
        whole = read_checkpoint(path, entries=('meta', 'state_dict'))
        delta = make_delta(
            whole, self._frozen, base=self._base, base_hash=self._hash, backbones=self._notes
        )
        twin = _twin(path)
        write_checkpoint(delta, twin)
        sizes = [size_of(file) / 2**20 for file in (twin, path)]
        print_log(
            f'{twin}: {sizes[0]:.1f} MiB with what was tuned, of {sizes[1]:.1f} MiB',
            logger='current',
        )

    def _remove(self, path: str) -> None:
        super()._remove(path)
        if self._is_own(path):
            _twin(path).unlink(missing_ok=True)


def _twin(path: str) -> Path:
    return Path(path).with_name(f'{_PREFIX}{Path(path).name}')
