"""A runner that loads checkpoints safely, and says what matched."""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping, Sequence
from typing import Any

from mmengine.logging import print_log
from mmengine.model import BaseTTAModel, is_model_wrapper
from mmengine.runner import Runner
from torch import nn
from torch.distributed.device_mesh import DeviceMesh

from vitadapter_dense.checkpoints.checked_loading import (
    LoadReport,
    WeightsError,
    load_checked,
    read_checkpoint,
    state_dict_of,
)
from vitadapter_dense.checkpoints.files import latest_checkpoint
from vitadapter_dense.training.distributed import check_same_start, raise_together
from vitadapter_dense.tuning.delta import BASE, complete_state_dict, is_delta, needs_pretrained


class LoadingRunner(Runner):
    """Reads checkpoints as tensors and plain containers only, and compares them with the model.

    One is refused, with a report, if too little matches: half of the parameters must for training
    from ``load_from``, all of them for evaluation. Pre-trained encoder weights are not fetched when
    a checkpoint is about to replace them.
    """

    _min_share = 1.0
    _read_ahead: tuple[str, dict[str, Any]] | None = None

    @property
    def bare_model(self) -> nn.Module:
        """The model without the wrappers of several processes and of test-time augmentation."""
        model = self.model
        while is_model_wrapper(model) or isinstance(model, BaseTTAModel):
            model = model.module
        return model

    @property
    def mesh(self) -> DeviceMesh | None:
        """The processes among which the model is sharded; None where it is whole."""
        return getattr(self.model, 'mesh', None)

    def read(self, filename: str, map_location: str = 'cpu') -> dict[str, Any]:
        """Reads a checkpoint; of a sharded one each process what it holds itself.

        Raises:
            WeightsError: in every process, if one of them cannot read it.
        """
        checkpoint, error = {}, None
        try:
            checkpoint = read_checkpoint(filename, map_location, mesh=self.mesh)
        except WeightsError as its:
            error = its
        raise_together(error)
        return checkpoint

    def train(self) -> nn.Module:
        """Trains, from ``load_from``, from a resumed checkpoint or from the start."""
        self._min_share = 0.5
        return super().train()

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
        self._read_ahead = (path, self.read(path))
        return needs_pretrained(self._read_ahead[1])

    def load_or_resume(self) -> None:
        """Loads or resumes the checkpoint that the config asks for, once."""
        if self._has_loaded:
            return
        checkpoint = self._checkpoint_to_read()
        check_same_start(checkpoint)
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
            checkpoint = self.read(filename, map_location)
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


def _revised(state_dict: dict[str, Any], revise_keys: Sequence[tuple[str, str]]) -> dict[str, Any]:
    for pattern, replacement in revise_keys:
        state_dict = {
            re.sub(pattern, replacement, name): tensor for name, tensor in state_dict.items()
        }
    return state_dict
