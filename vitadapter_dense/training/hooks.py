"""Hooks: checkpoints that survive being killed, evaluation that leaves training alone."""

from __future__ import annotations

import hashlib
import logging
import math
import os
from numbers import Real
from pathlib import Path
from typing import Any

from mmengine.dist import is_main_process, master_only
from mmengine.hooks import CheckpointHook, Hook
from mmengine.logging import print_log
from mmengine.registry import HOOKS

from vitadapter_dense.checkpoints.checked_loading import read_checkpoint
from vitadapter_dense.checkpoints.files import (
    is_local,
    remove_partial_files,
    remove_shards,
    write_checkpoint,
    write_pointer,
)
from vitadapter_dense.checkpoints.gathering import gather_checkpoint
from vitadapter_dense.training.errors import SettingsError


@HOOKS.register_module()
class AtomicCheckpointHook(CheckpointHook):
    """``CheckpointHook`` in an order that survives being killed at any moment.

    First the new checkpoint is written as a whole, then the work folder's pointer is moved to it,
    then the oldest is deleted (MMEngine deletes first). It takes the arguments of
    ``CheckpointHook``, and belongs with ``DenseRunner``, whose ``save_checkpoint`` is what writes
    atomically.
    """

    def before_train(self, runner: Any) -> None:
        """Prepares the folder; what killed writes have left in it is removed."""
        super().before_train(runner)
        if getattr(runner, 'mesh', None) is not None and not is_local(
            self.out_dir, self.backend_args
        ):
            raise SettingsError(
                f'a sharded run writes its checkpoints to folders only, not to {self.out_dir}'
            )
        if self.save_best:
            best = self._best_paths().items()
            self._set_best_paths({key: path and self._moved(path) for key, path in best})
        if not is_main_process():
            return
        for folder in {str(self.out_dir), str(runner.work_dir)}:
            if is_local(folder, self.backend_args) and Path(folder).is_dir():
                for path in remove_partial_files(folder):
                    print_log(f'removed {path}, left by an interrupted write', logger='current')

    def _save_checkpoint_with_step(self, runner: Any, step: int, meta: dict[str, Any]) -> None:
        outdated: list[int] = []
        if self.max_keep_ckpts > 0 and (not self.keep_ckpt_ids or self.keep_ckpt_ids[-1] != step):
            # Until it is gone the oldest stays on record: a resume from the new checkpoint deletes
            # it then.
            kept = [*(old for old in self.keep_ckpt_ids if old != step), step]
            outdated, kept_ids = kept[: -self.max_keep_ckpts], kept[-self.max_keep_ckpts :]
            runner.message_hub.update_info('keep_ckpt_ids', kept)
            self.keep_ckpt_ids.clear()
            self.keep_ckpt_ids.extend(kept_ids)

        filename = self.filename_tmpl.format(step)
        self.last_ckpt = self.file_backend.join_path(self.out_dir, filename)
        runner.message_hub.update_info('last_ckpt', self.last_ckpt)
        runner.save_checkpoint(
            self.out_dir,
            filename,
            self.file_client_args,
            save_optimizer=self.save_optimizer,
            save_param_scheduler=self.save_param_scheduler,
            meta=meta,
            by_epoch=self.by_epoch,
            backend_args=self.backend_args,
            **self.args,
        )
        if is_main_process():
            write_pointer(runner.work_dir, self.last_ckpt)
            for old in outdated:
                self._remove(
                    self.file_backend.join_path(self.out_dir, self.filename_tmpl.format(old))
                )
        if self.max_keep_ckpts > 0:
            runner.message_hub.update_info('keep_ckpt_ids', list(self.keep_ckpt_ids))

    def _save_best_checkpoint(self, runner: Any, metrics: dict[str, Any]) -> None:
        if not self.save_best:
            return
        # The parent deletes the checkpoints it knows as the best before it writes; it is shown
        # none.
        before = self._best_paths()
        self._set_best_paths(dict.fromkeys(before))
        super()._save_best_checkpoint(runner, self._comparable(metrics))
        after = self._best_paths()
        self._set_best_paths({key: after[key] or before.get(key) for key in after})
        if is_main_process():
            for key, old in before.items():
                if old and after.get(key) and old not in after.values():
                    self._remove(old)
                    print_log(f'the previous best checkpoint {old} is removed', logger='current')

    def _comparable(self, metrics: dict[str, Any]) -> dict[str, Any]:
        """The metrics, with None for what cannot be the best: missing, NaN or infinite."""
        metrics = {
            key: None if isinstance(value, Real) and not math.isfinite(value) else value
            for key, value in metrics.items()
        }
        for key in self.key_indicators:
            if key != 'auto' and metrics.setdefault(key, None) is None:
                print_log(
                    f'the evaluation gives no number for {key} (it has {sorted(metrics)}): no best '
                    'checkpoint is chosen by it',
                    logger='current',
                    level=logging.WARNING,
                )
        return metrics

    def _best_paths(self) -> dict[str, str | None]:
        if len(self.key_indicators) == 1:
            return {'': self.best_ckpt_path}
        return dict(self.best_ckpt_path_dict)

    def _set_best_paths(self, paths: dict[str, str | None]) -> None:
        if len(self.key_indicators) == 1:
            self.best_ckpt_path = paths['']
        else:
            self.best_ckpt_path_dict = dict(paths)

    def _moved(self, path: str) -> str:
        """Where the best checkpoint of a resumed run lies, if its folder was moved as a whole."""
        here = self.file_backend.join_path(self.out_dir, Path(path).name)
        return here if self.file_backend.isfile(here) else path

    def _is_own(self, path: str) -> bool:
        """A run that was resumed in another folder knows the best checkpoint of the first one."""
        return os.path.abspath(os.path.dirname(path)) == os.path.abspath(self.out_dir)

    def _remove(self, path: str) -> None:
        if not self._is_own(path):
            return
        if self.file_backend.isfile(path):
            self.file_backend.remove(path)
        if is_local(path, self.backend_args):  # killed between the two, the folder alone is left
            remove_shards(path)

    def after_train(self, runner: Any) -> None:
        """Publishes; of a sharded run the last checkpoint and the best ones become plain files."""
        super().after_train(runner)
        if getattr(runner, 'mesh', None) is None or not is_main_process():
            return
        best = self._best_paths().values() if self.save_best else ()
        for path in {getattr(self, 'last_ckpt', None), *best} - {None}:
            if not (self._is_own(path) and Path(path).is_file()):  # a resumed run's, elsewhere
                continue
            target = Path(path).with_stem(f'{Path(path).stem}_whole')
            gather_checkpoint(path, target)
            print_log(f'{target}: the weights of {path} as one file', logger='current')

    @master_only
    def _publish_model(self, runner: Any, ckpt_path: str) -> None:
        """Writes a copy with the published keys alone, named by the hash of its content."""
        if not is_local(ckpt_path, self.backend_args):
            super()._publish_model(runner, ckpt_path)
            return
        checkpoint = read_checkpoint(ckpt_path)
        published = {key: checkpoint[key] for key in checkpoint if key in self.published_keys}
        path = Path(ckpt_path)
        whole = path.with_name(f'{path.stem}-published.pth')
        write_checkpoint(published, whole)
        final = path.with_name(
            f'{path.stem}-{hashlib.sha256(whole.read_bytes()).hexdigest()[:8]}.pth'
        )
        whole.replace(final)
        print_log(f'{ckpt_path} is published with {sorted(published)} as {final}', logger='current')


@HOOKS.register_module()
class EvaluationRandomStateHook(Hook):
    """Keeps evaluation during training from moving the random state of training.

    A run that resumes after an evaluation does not repeat it, and must still draw the same numbers.
    ``DenseRunner`` registers it by itself.
    """

    priority = 'VERY_LOW'

    def before_val(self, runner: Any) -> None:
        """Takes the state; checkpoints saved during evaluation hold this one."""
        runner.hold_random_state()

    def after_val(self, runner: Any) -> None:
        """Puts the state back."""
        runner.release_random_state()
