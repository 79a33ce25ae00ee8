"""Reading checkpoints safely and reporting what matched."""

from __future__ import annotations

import os
import pickle

import numpy as np
import pytest
import torch
from mmengine.logging import HistoryBuffer
from safetensors.torch import save
from torch import nn

from vitadapter_dense.checkpoints.checked_loading import (
    LoadReport,
    WeightsError,
    compare,
    load_checked,
    read_checkpoint,
    state_dict_of,
)


class Malicious:
    """Would run a command when unpickled in full."""

    def __init__(self, marker):
        self.marker = marker

    def __reduce__(self):
        return os.system, (f'touch {self.marker}',)


def test_a_pickle_that_runs_code_is_refused(tmp_path):
    marker, path = tmp_path / 'ran', tmp_path / 'bad.pth'
    torch.save({'state_dict': {'weight': torch.ones(1)}, 'meta': Malicious(marker)}, path)
    with pytest.raises(
        WeightsError, match=r'bad\.pth.* is refused.*could run code.*asks for posix\.system'
    ):
        read_checkpoint(path)
    path.write_bytes(pickle.dumps(Malicious(marker)))
    with pytest.raises(WeightsError):
        read_checkpoint(path)
    assert not marker.exists()


class ByAttribute:
    """Would reach for an attribute of a class when unpickled."""

    def __reduce__(self):
        return getattr, (torch.Tensor, 'numpy')


def test_getattr_reaches_nothing_but_statistics(tmp_path):
    torch.save({'weight': torch.ones(1), 'meta': ByAttribute()}, tmp_path / 'bad.pth')
    with pytest.raises(WeightsError, match='is refused'):
        read_checkpoint(tmp_path / 'bad.pth')


def test_mmengine_checkpoints_are_read(tmp_path):
    path = tmp_path / 'epoch_1.pth'
    history = HistoryBuffer([1.0, 2.0], [1, 1])
    saved = {
        'state_dict': {'weight': torch.arange(3.0)},
        'message_hub': {'log_scalars': {'loss': history}, 'runtime_info': {'lr': np.float64(0.1)}},
        'meta': {'epoch': 1, 'seed': 0},
    }
    torch.save(saved, path)
    checkpoint = read_checkpoint(path)
    assert checkpoint['message_hub']['log_scalars']['loss'].mean() == 1.5
    assert torch.equal(state_dict_of(checkpoint)['weight'], torch.arange(3.0))


@pytest.mark.parametrize('suffix', ['.pth', '.safetensors'])
@pytest.mark.parametrize('kept', [0, 20, 600, 3000, 4800])
def test_truncated_files_are_named(tmp_path, suffix, kept):
    from safetensors.torch import save_file

    path = tmp_path / f'model{suffix}'
    (save_file if suffix == '.safetensors' else torch.save)({'weight': torch.ones(2000)}, path)
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(WeightsError, match=rf'model\{suffix}.* cannot be read.*truncated'):
        read_checkpoint(path)


@pytest.mark.parametrize('suffix', ['.pth', '.safetensors', '.npz', '.bin', ''])
@pytest.mark.parametrize('kind', ['torch', 'legacy', 'safetensors', 'npz'])
def test_a_wrong_ending_does_not_matter(tmp_path, kind, suffix):
    path = tmp_path / f'weights{suffix}'
    with path.open('wb') as file:
        if kind == 'safetensors':
            file.write(save({'weight': torch.arange(3.0)}))
        elif kind == 'npz':
            np.savez(file, weight=np.arange(3.0, dtype=np.float32))
        else:
            zipped = kind == 'torch'
            torch.save({'weight': torch.arange(3.0)}, file, _use_new_zipfile_serialization=zipped)
    assert torch.equal(read_checkpoint(path)['weight'], torch.arange(3.0))


def test_a_page_in_place_of_a_file_is_shown(tmp_path):
    (tmp_path / 'model.pth').write_text('<html>404 Not Found</html>')
    with pytest.raises(WeightsError, match='no checkpoint: it begins with .*<html>404.*fetch it'):
        read_checkpoint(tmp_path / 'model.pth')


def test_arrays_of_objects_are_refused(tmp_path):
    marker = tmp_path / 'ran'
    np.savez(tmp_path / 'model.npz', weight=np.array([Malicious(marker)]))
    with pytest.raises(WeightsError, match='is refused: .*could run code'):
        read_checkpoint(tmp_path / 'model.npz')
    assert not marker.exists()


def test_programs_are_refused(tmp_path):
    """Without torch's own advice to load them unsafely."""
    torch.jit.trace(torch.nn.Linear(2, 2), torch.zeros(1, 2)).save(tmp_path / 'ViT-B-16.pt')
    with pytest.raises(WeightsError, match='is refused: .*TorchScript') as error:
        read_checkpoint(tmp_path / 'ViT-B-16.pt')
    assert 'weights_only' not in str(error.value)


def test_names_that_are_numbers_and_sparse_tensors():
    with pytest.raises(WeightsError, match=r"no state dict.*entries are \['1'\]"):
        state_dict_of({1: torch.ones(2)})
    with pytest.raises(WeightsError, match='weight in the checkpoint is sparse.*save it dense'):
        state_dict_of({'weight': torch.eye(2).to_sparse()})


def test_files_that_are_no_checkpoint(tmp_path):
    with pytest.raises(WeightsError, match="no checkpoint file at '.*none.pth'"):
        read_checkpoint(tmp_path / 'none.pth')
    torch.save(torch.ones(2), tmp_path / 'tensor.pth')
    with pytest.raises(WeightsError, match='holds a Tensor; expected a mapping'):
        read_checkpoint(tmp_path / 'tensor.pth')
    with pytest.raises(WeightsError, match=r"no state dict.*entries are \['epoch'\]"):
        state_dict_of({'epoch': 3})


def test_wrappings_come_off():
    weight = torch.ones(1)
    for wrapped in (
        {'weight': weight},
        {'state_dict': {'weight': weight}, 'epoch': 1},
        {'model': {'module.weight': weight}},
        {'teacher': {'weight': weight}},
    ):
        assert list(state_dict_of(wrapped)) == ['weight']


def test_report_counts_and_names():
    module = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 2))
    given = {'0.weight': torch.zeros(4, 4), '0.bias': torch.zeros(3), 'head.weight': torch.zeros(1)}
    report = compare(module, given)
    assert report.matched == ('0.weight',)
    assert report.missing == ('1.weight', '1.bias')
    assert report.unexpected == ('head.weight',)
    assert report.mismatched == (('0.bias', (3,), (4,)),)
    assert report.share == 16 / 30
    for word in ('matched 1', 'missing 2', 'unexpected 1', '0.bias (file (3,), model (4,))'):
        assert word in str(report)


def test_too_little_matched_loads_nothing():
    module = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 2))
    before = module[1].weight.clone()
    given = {'1.weight': torch.zeros(2, 4)}
    with pytest.raises(WeightsError, match='the backbone does not fit the model: 26.7%'):
        load_checked(module, given, what='backbone')
    assert torch.equal(module[1].weight, before)
    load_checked(module, given, min_share=0.2)
    assert torch.equal(module[1].weight, given['1.weight'])


@pytest.mark.parametrize('name', ['0.weight', '1.running_var'])
@pytest.mark.parametrize('value', [float('nan'), float('inf')])
def test_broken_weights_are_not_loaded(name, value):
    module = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4))
    given = {key: tensor.clone() for key, tensor in module.state_dict().items()}
    given[name].view(-1)[1] = value
    with pytest.raises(WeightsError, match=f'the backbone holds .* in 1 .* first {name}'):
        load_checked(module, given, what='backbone')
    assert module.state_dict()[name].isfinite().all()
    load_checked(module, {**given, name: torch.ones_like(given[name]), 'other': given[name]})


def test_what_lacks_little_is_not_the_whole():
    report = LoadReport((), (), (), (), 0.99996)
    assert report.percent == '99.9%'
    assert LoadReport((), (), (), (), 1.0).percent == '100.0%'


def test_a_checkpoint_whose_numbers_have_changed_on_the_disk_is_refused(tmp_path):
    path, weights = tmp_path / 'epoch_1.pth', dict(weight=torch.rand(1000))
    for crc in (False, True):  # torch can leave them out
        torch.serialization.set_crc32_options(crc)
        torch.save(weights, path)
        assert torch.equal(read_checkpoint(path)['weight'], weights['weight'])
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(WeightsError, match="is damaged: 'epoch_1/data/0' in it is not what"):
        read_checkpoint(path)
