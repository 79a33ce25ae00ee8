"""Checkpoints as other projects write them: read as plain data, or refused with the mend."""

from __future__ import annotations

import argparse
import json
import pathlib
import pickle
import struct
import sys
import types
import zipfile
from collections import OrderedDict
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from mmengine.runner import Runner
from safetensors.torch import save_file
from torch import nn

from vitadapter_dense.checkpoints.checked_loading import (
    WeightsError,
    compare,
    read_checkpoint,
    state_dict_of,
)
from vitadapter_dense.encoders import TimmViT
from vitadapter_dense.encoders.hub import load_pretrained

SMALL = dict(img_size=32, patch_size=8, embed_dim=16, depth=2, num_heads=2)
NAME = 'vit_tiny_patch16_224'


def numpy_1(path: Path) -> Path:
    """The file as NumPy 1 would have had it written: its module was ``numpy.core``."""
    old = path.with_name(f'old_{path.name}')
    with zipfile.ZipFile(path) as new, zipfile.ZipFile(old, 'w') as archive:
        for item in new.infolist():
            data = new.read(item)
            archive.writestr(item, data.replace(b'cnumpy._core.', b'cnumpy.core.'))
    assert old.stat().st_size != path.stat().st_size
    return old


class _Model(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.data_preprocessor = nn.Identity()
        self.linear = nn.Linear(2, 1)

    def train_step(self, data, optim_wrapper):
        loss = self.linear(torch.stack(data)).square().mean()
        optim_wrapper.update_params(loss)
        return dict(loss=loss.detach())


def test_a_training_checkpoint_of_stock_mmengine(tmp_path):
    """With message hub, history buffers, optimiser, schedulers and a moving average."""
    runner = Runner(
        model=_Model(),
        work_dir=str(tmp_path),
        train_dataloader=dict(
            batch_size=2,
            dataset=[torch.ones(2) * number for number in range(4)],
            sampler=dict(type='DefaultSampler', shuffle=True),
        ),
        train_cfg=dict(by_epoch=True, max_epochs=2),
        optim_wrapper=dict(optimizer=dict(type='AdamW', lr=0.1)),
        param_scheduler=dict(type='LinearLR', start_factor=0.1, end=2),
        custom_hooks=[dict(type='EMAHook')],
        log_level='ERROR',
        experiment_name=tmp_path.name,
    )
    runner.train()
    runner.message_hub.update_info('best_score', np.float64(0.5))
    runner.save_checkpoint(str(tmp_path), 'stock.pth')
    average = runner.hooks[[type(hook).__name__ for hook in runner.hooks].index('EMAHook')]
    wanted = average.ema_model.module.linear.weight
    for path in (tmp_path / 'stock.pth', numpy_1(tmp_path / 'stock.pth')):
        checkpoint = read_checkpoint(path)
        hub = checkpoint['message_hub']
        assert hub['log_scalars']['train/loss'].mean() >= 0
        assert hub['runtime_info']['best_score'] == 0.5
        assert 'ema_state_dict' in checkpoint
        assert torch.equal(state_dict_of(checkpoint)['linear.weight'], wanted)


@pytest.fixture
def vit() -> nn.Module:
    torch.manual_seed(0)
    return timm.create_model(NAME, num_classes=0, **SMALL)


def _average(state: dict) -> dict:
    return {name: tensor + 1 for name, tensor in state.items()}


def _prefixed(state: dict, prefix: str) -> dict:
    return {prefix + name: tensor for name, tensor in state.items()}


ARGS = argparse.Namespace(lr=1e-3, output_dir=pathlib.Path('/runs/a'), betas=[0.9, 0.999])
HEAD = {'head.mlp.weight': torch.zeros(3)}


@pytest.mark.parametrize(
    ('layout', 'averaged'),
    [
        (lambda s: dict(meta=dict(epoch=3, CLASSES=('a',)), state_dict=s, optimizer=dict()), False),
        (lambda s: dict(state_dict=s, state_dict_ema=_average(s), args=ARGS, epoch=1), True),
        (lambda s: dict(model=s, model_ema=_average(s), scaler=dict(scale=2.0), args=ARGS), True),
        (lambda s: dict(model=_prefixed(s, 'module.'), args=ARGS), False),
        (lambda s: dict(teacher={**_prefixed(s, 'backbone.'), **HEAD}), False),
        (
            lambda s: dict(
                student=_prefixed(s, 'module.backbone.'),
                teacher={**_prefixed(_average(s), 'backbone.'), **HEAD},
                args=ARGS,
            ),
            True,
        ),
        (lambda s: {'state_dict': _prefixed(s, 'model.'), 'hyper_parameters': dict(lr=1)}, False),
        (lambda s: dict(state_dict=_prefixed(s, 'backbone.encoder.') | HEAD), False),
        (lambda s: _prefixed(s, '_orig_mod.'), False),
    ],
    ids=['mmcv', 'timm', 'deit', 'ddp', 'dinov2', 'dino', 'lightning', 'detector', 'compiled'],
)
def test_the_encoder_is_found_in_every_layout(vit, tmp_path, layout, averaged, capsys):
    path = tmp_path / 'file.pth'
    torch.save(layout(vit.state_dict()), path)
    encoder = TimmViT(NAME, pretrained=path, keep_prefix_tokens=True, **SMALL)
    encoder.init_weights()
    wanted = vit.state_dict()
    for name, tensor in encoder.state_dict().items():
        assert torch.equal(tensor, wanted[name] + 1 if averaged else wanted[name]), name


def test_of_two_sets_that_of_timm_is_taken_and_said(vit, tmp_path, monkeypatch):
    said = []
    monkeypatch.setattr(
        'vitadapter_dense.checkpoints.reading.print_log',
        lambda text, **_: said.append(text),
    )
    state = vit.state_dict()
    path = str(tmp_path / 'file.pth')
    torch.save(dict(state_dict=state, state_dict_ema=_average(state)), path)
    theirs = timm.create_model(NAME, num_classes=0, checkpoint_path=path, **SMALL)
    ours = timm.create_model(NAME, num_classes=0, **SMALL)
    load_pretrained(ours, NAME, path, image_args=dict(img_size=32, patch_size=8))
    assert torch.equal(ours.blocks[1].mlp.fc1.weight, theirs.blocks[1].mlp.fc1.weight)
    assert said == [
        "the checkpoint holds several sets of weights: 'state_dict_ema' is taken, not 'state_dict'"
    ]


def test_two_encoders_in_one_file_stay_an_error(vit, tmp_path):
    state = vit.state_dict()
    torch.save(_prefixed(state, 'online.') | _prefixed(state, 'target.'), tmp_path / 'file.pth')
    with pytest.raises(WeightsError, match='mixture of models|does not fit|does not look like'):
        load_pretrained(vit, NAME, tmp_path / 'file.pth')


def test_a_whole_model_that_lightning_trained():
    model = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 1))
    for prefix in ('model.', '_orig_mod.', 'model._orig_mod.', ''):
        given = _prefixed(model.state_dict(), prefix) | {'criterion.weight': torch.ones(1)}
        assert compare(model, given).share == 1
    inner = nn.ModuleDict(dict(model=model))  # whose names have the prefix themselves
    assert compare(inner, inner.state_dict()).share == 1


@pytest.mark.parametrize(
    'name',
    [
        'lightning_fabric.utilities.data.AttributeDict',
        'pytorch_lightning.utilities.parsing.AttributeDict',
        'yacs.config.CfgNode',
    ],
)
def test_dictionaries_with_attributes_become_plain_ones(tmp_path, monkeypatch, name):
    module, _, kind = name.rpartition('.')
    parts = module.split('.')
    for end in range(1, len(parts) + 1):
        made = types.ModuleType('.'.join(parts[:end]))
        monkeypatch.setitem(sys.modules, made.__name__, made)
    made.__dict__[kind] = type(kind, (dict,), dict(__module__=module))
    options = made.__dict__[kind](lr=0.1)
    if kind == 'CfgNode':
        options.__dict__['immutable'] = True
    path = tmp_path / 'last.ckpt'
    torch.save(dict(state_dict=dict(a=torch.ones(1)), hyper_parameters=options), path)
    found = read_checkpoint(path)['hyper_parameters']
    assert type(found) is OrderedDict
    assert found == dict(lr=0.1)


class TestFolders:
    @pytest.fixture
    def folder(self, tmp_path) -> Path:
        """Weights in two parts with an index."""
        for number in (1, 2):
            save_file({f'w{number}': torch.full((2,), float(number))}, tmp_path / f'{number}.st')
        index = dict(metadata=dict(total_size=16), weight_map={'w1': '1.st', 'w2': '2.st'})
        (tmp_path / 'model.safetensors.index.json').write_text(json.dumps(index))
        return tmp_path

    def test_parts_are_put_together(self, folder):
        for source in (folder, str(folder / 'model.safetensors.index.json')):
            weights = read_checkpoint(source)
            assert {name: float(tensor[0]) for name, tensor in weights.items()} == dict(w1=1, w2=2)

    def test_one_file_goes_before_an_index_and_a_pickle(self, folder):
        save_file({'w': torch.ones(1)}, folder / 'model.safetensors')
        torch.save({'other': torch.ones(1)}, folder / 'pytorch_model.bin')
        assert list(read_checkpoint(folder)) == ['w']

    def test_what_is_not_whole_or_not_in_the_folder_is_refused(self, folder, tmp_path):
        (folder / '2.st').unlink()
        with pytest.raises(WeightsError, match=r'1 of the 2 parts .* not there: 2\.st'):
            read_checkpoint(folder)
        save_file({'another': torch.ones(1)}, folder / '2.st')
        with pytest.raises(WeightsError, match=r'2\.st.* lacks 1 tensors .*w2.*Fetch all again'):
            read_checkpoint(folder)
        index = folder / 'model.safetensors.index.json'
        for outside in ('../secret.st', '/etc/passwd', 'a/../../b.st'):
            index.write_text(json.dumps(dict(weight_map=dict(w=outside))))
            with pytest.raises(WeightsError, match='which is not in its folder'):
                read_checkpoint(folder)
        for broken in ('{', '[]', '{"weight_map": 3}'):
            index.write_text(broken)
            with pytest.raises(WeightsError, match='is no index of weights'):
                read_checkpoint(folder)
        index.unlink()
        with pytest.raises(WeightsError, match='holds no weights under a known name'):
            read_checkpoint(folder)


def test_detectron2_pickles_are_refused_with_the_conversion(tmp_path):
    path = tmp_path / 'model_final.pkl'
    content = dict(model={'a.weight': np.ones((2, 3), np.float32)}, __author__='Caffe2')
    for protocol in (2, 4):
        path.write_bytes(pickle.dumps(content, protocol=protocol))
        with pytest.raises(WeightsError, match='plain pickle, as Detectron2') as caught:
            read_checkpoint(path)
    program = str(caught.value).partition('python -c "')[2].rpartition('"')[0]
    exec(program.replace("'converted.pth'", repr(str(tmp_path / 'converted.pth'))))
    converted = read_checkpoint(tmp_path / 'converted.pth')
    assert torch.equal(converted['a.weight'], torch.ones(2, 3))


def _call(module: str, name: str, *arguments: str | bytes) -> bytes:
    """A pickle that calls what a file names; an argument in bytes is a pickle itself."""
    packed = b''.join(
        item if isinstance(item, bytes) else b'X' + struct.pack('<I', len(item)) + item.encode()
        for item in arguments
    )
    return f'c{module}\n{name}\n'.encode() + b'(' + packed + b'tR'


def _named(module: str, name: str) -> bytes:
    return f'c{module}\n{name}\n'.encode()


BUFFER = _named('mmengine.logging.history_buffer', 'HistoryBuffer')
HOSTILE = {
    'system': _call('os', 'system', 'touch MARKER'),
    'exec': _call('builtins', 'exec', "open('MARKER', 'w')"),
    'numpy 1, its tests': _call('numpy.testing._private.utils', 'runstring', 'x', '{}'),
    'numpy 1, a shell': _call('numpy.distutils.exec_command', 'exec_command', 'touch MARKER'),
    'numpy 1, beside': _call('numpy.core.multiarray', 'fromfile', '/etc/passwd'),
    'numpy 2, beside': _call('numpy._core.multiarray', 'fromfile', '/etc/passwd'),
    'numpy 1, deeper': _call('numpy.core.multiarray', 'os.system', 'touch MARKER'),
    'numpy 2, a class': _call('numpy._core.multiarray', '_reconstruct', BUFFER, b'K\0\x85', 'b'),
    'getattr on a module': _call('builtins', 'getattr', _named('numpy', 'ndarray'), 'tofile'),
    'getattr under its old name': _call('__builtin__', 'getattr', BUFFER, '__init__'),
    'getattr, twice': _call(
        'builtins', 'getattr', _call('builtins', 'getattr', BUFFER, 'mean'), '__globals__'
    ),
    'calling what getattr gave': _call('builtins', 'getattr', BUFFER, 'mean') + b'(K\1tR',
    'a path that touches the disk': _call('pathlib', 'Path.unlink', 'MARKER'),
    'a path': _call('pathlib', 'Path', 'MARKER'),
}


@pytest.mark.parametrize('kind', HOSTILE)
def test_what_runs_code_stays_refused(tmp_path, monkeypatch, kind):
    monkeypatch.chdir(tmp_path)
    torch.save({}, 'good.pth')
    with zipfile.ZipFile('good.pth') as good, zipfile.ZipFile('bad.pth', 'w') as bad:
        for item in good.infolist():
            data = good.read(item)
            if item.filename.endswith('data.pkl'):
                data = b'\x80\x02}X\1\0\0\0w' + HOSTILE[kind] + b's.'
            bad.writestr(item, data)
    with pytest.raises(WeightsError, match='is refused|cannot be read as a checkpoint') as caught:
        read_checkpoint('bad.pth')
    assert 'weights_only' not in str(caught.value)
    assert not Path('MARKER').exists()
