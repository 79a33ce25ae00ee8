"""A released model by its name: downloaded, converted, checked and used, in Python and by tools."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import cv2
import numpy as np
import pytest
import torch
from tiny_detection import TinyTask, load_tool, run_tool

from vitadapter_cli.released_models import ReleasedModel
from vitadapter_dense import Predictor
from vitadapter_dense.checkpoints import WeightsError

NAME = 'tiny/mask_rcnn_vitadapter_xxs'


def as_the_original(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Our names -> the original's: there the backbone is the encoder."""
    return {
        name.replace('backbone.encoder.', 'backbone.')
        .replace('.ls1.gamma', '.gamma1')
        .replace('.ls2.gamma', '.gamma2'): tensor
        for name, tensor in state.items()
    }


@pytest.fixture
def released(tiny_task: TinyTask, tmp_path, monkeypatch) -> Iterator[Path]:
    """The tiny model as a released one, in a folder with its configuration; yields its file."""
    (tmp_path / 'configs' / 'tiny').mkdir(parents=True)
    (tmp_path / 'configs' / f'{NAME}.py').write_text(tiny_task.config.read_text())
    (tmp_path / 'web').mkdir()
    file = tmp_path / 'web' / 'mask_rcnn_deit_adapter.pth.tar'
    (best,) = tiny_task.work_dir.glob('best_*.pth')
    state = as_the_original(torch.load(best)['state_dict'])
    assert 'backbone.blocks.0.attn.qkv.weight' in state
    torch.save(dict(meta={}, state_dict=state), file)
    handler = partial(SimpleHTTPRequestHandler, directory=str(file.parent))
    handler.log_message = lambda *_: None
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv('TORCH_HOME', str(tmp_path / 'cache'))
    monkeypatch.setenv('no_proxy', '*')
    with ThreadingHTTPServer(('127.0.0.1', 0), handler) as server:
        Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        address = f'http://127.0.0.1:{server.server_port}/{file.name}'
        model = ReleasedModel(NAME, address, 'none', '2 epochs', '1.0 / 1.0', '1 M')
        monkeypatch.setattr('vitadapter_cli.model_names.MODELS_OF_THE_ORIGINAL', (model,))
        yield file
        server.shutdown()


def test_predictor_and_tools_take_the_name(released, tiny_task, tmp_path):
    photo = tiny_task.data / 'val' / 'val_0.jpg'
    expected = Predictor(tiny_task.work_dir, device='cpu')(photo)
    for arguments in ((NAME,), (NAME.partition('/')[2],), (tiny_task.config, NAME)):
        found = Predictor(*arguments, device='cpu')(photo)
        assert len(found.boxes) > 0
        for part in ('boxes', 'scores', 'labels', 'masks'):
            assert np.array_equal(getattr(found, part), getattr(expected, part))
    status, _ = run_tool('demo/image_demo.py', photo, NAME, '--out-dir', 'drawn')
    assert status == 0
    (drawn,) = (tmp_path / 'drawn').glob('*.png')
    assert cv2.imread(str(drawn)) is not None
    args = load_tool('test.py').parse_args([NAME])
    assert (args.config, args.checkpoint) == (f'configs/{NAME}.py', NAME)
    with pytest.raises(SystemExit, match=r'tiny\.py is a configuration, which has no weights'):
        load_tool('test.py').parse_args([str(tiny_task.config)])


def test_what_lacks_a_parameter_is_refused_and_what_is_beyond_is_named(released, capsys):
    content = torch.load(released)
    content['state_dict']['backbone.extra'] = torch.ones(2)
    torch.save(content, released)
    Predictor(NAME, device='cpu')
    assert 'unexpected: backbone.extra' in capsys.readouterr().out
    del content['state_dict']['neck.lateral_convs.0.conv.weight']
    torch.save(content, released)
    for file in Path('cache/hub/checkpoints').iterdir():
        file.unlink()
    with pytest.raises(WeightsError, match=r'99.7% of the(?s:.*)missing: neck.lateral_convs'):
        Predictor(NAME, device='cpu')


@pytest.mark.parametrize(
    ('wrong', 'message'),
    [
        ('tiny/mask_rcnn_vitadapter_xs', 'no checkpoint file.*no released model is called'),
        ('work_dirs/mask_rcnn', 'no checkpoint file and no work directory at work_dirs/mask_rcnn'),
    ],
)
def test_a_wrong_name_is_told(wrong, message, released):
    with pytest.raises(FileNotFoundError, match=message):
        Predictor(wrong)
    with pytest.raises(SystemExit, match=f'error: .*{message}'):
        load_tool('demo/image_demo.py').parse_args([str(released), wrong])
