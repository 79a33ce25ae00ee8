"""What a weights file is and says: reading, checked loading, writing whole."""

from __future__ import annotations

from vitadapter_dense.checkpoints.checked_loading import (
    LoadReport,
    WeightsError,
    load_checked,
    read_checkpoint,
    state_dict_of,
)

__all__ = ['LoadReport', 'WeightsError', 'load_checked', 'read_checkpoint', 'state_dict_of']
