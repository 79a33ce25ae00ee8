"""What a tool says of an error that the user can mend."""

from __future__ import annotations

import pytest
from torch.utils.data import DataLoader, Dataset

from vitadapter_dense.command_line.arguments import errors_as_message
from vitadapter_dense.datasets import DatasetError


class _Broken(Dataset):
    def __len__(self) -> int:
        return 1

    def __getitem__(self, index: int) -> None:
        try:
            raise OSError('no such file')
        except OSError as error:
            raise DatasetError('label map 7.png is 3 x 2 pixels. Mend: it.') from error


@pytest.mark.parametrize('workers', [0, 1])
def test_error_of_a_loading_process_is_its_message_alone(workers: int) -> None:
    loader = DataLoader(_Broken(), num_workers=workers)
    with pytest.raises(SystemExit) as caught, errors_as_message(DatasetError):
        next(iter(loader))
    assert str(caught.value) == 'error: label map 7.png is 3 x 2 pixels. Mend: it.'
