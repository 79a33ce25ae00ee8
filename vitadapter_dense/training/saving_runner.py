"""A runner whose checkpoints are plain data, whole, and hold what a resume needs."""

from __future__ import annotations

import shutil
from functools import cached_property
from pathlib import Path
from typing import Any

from mmengine.dist import all_gather_object, is_main_process
from mmengine.fileio import join_path

from vitadapter_dense.checkpoints.files import is_local, remove_shards, write_checkpoint
from vitadapter_dense.checkpoints.plain_data import to_plain
from vitadapter_dense.checkpoints.sharded_tensors import SHARDS
from vitadapter_dense.training.accumulation import begun_steps
from vitadapter_dense.training.checkpoint_content import checkpoint_of
from vitadapter_dense.training.finite import refuse_broken
from vitadapter_dense.training.full_disk import said_together
from vitadapter_dense.training.loading_runner import LoadingRunner
from vitadapter_dense.training.random_state import random_state, set_random_state


class SavingRunner(LoadingRunner):
    """Writes checkpoints whole or not at all, with the random state of every process.

    ``save_checkpoint`` must therefore be called in every process, as ``CheckpointHook`` does.
    """

    _held_random_state: dict[str, Any] | None = None

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

        Of a sharded run each process writes what it holds, see
        :mod:`vitadapter_dense.checkpoints.shards`.

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
            NotSavedError: in every process, where one cannot write; the file of that name that was
                there stays.
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
        path = join_path(out_dir, filename, backend_args=backend_args)
        sharded = self.mesh is not None
        if is_main_process() or sharded:
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
        refuse_broken(checkpoint.get('state_dict', {}), self.bare_model, path)
        with said_together(path):
            folder = None
            if sharded:
                from vitadapter_dense.checkpoints import shards  # slow to import

                checkpoint = shards.write_shards(checkpoint, Path(path))
                folder = checkpoint[SHARDS]['folder']
            if is_main_process():
                try:
                    write_checkpoint(to_plain(checkpoint), path, backend_args=backend_args)
                except BaseException:
                    if sharded:  # nothing will ever name it
                        shutil.rmtree(Path(path).with_name(folder), ignore_errors=True)
                    raise
                if is_local(path, backend_args):  # a run that is not sharded may have been before
                    remove_shards(path, keep=folder)
