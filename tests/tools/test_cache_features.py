"""`tools/dataset/cache_features.py`: resumable, refuses what cannot be kept, used as the page
says."""

from __future__ import annotations

import re

import pytest
import torch
from tiny_detection import ROOT, load_tool, losses_by_iteration, run_tool
from tiny_segmentation import CLASSES, CONFIG, write_images

from vitadapter_cli import load_config
from vitadapter_dense.encoders.feature_folder import FeatureFolder
from vitadapter_dense.inference.predictor import build_model

FROZEN = ('model.backbone.encoder.frozen=True', 'model.backbone.injector=False')


@pytest.fixture(scope='module')
def tool():
    return load_tool('dataset/cache_features.py')


@pytest.fixture
def frozen_config(tmp_path):
    """A tiny segmentation task over a frozen encoder with weights, its images in the folder."""
    write_images(tmp_path / 'data', 4)
    plain = tmp_path / 'plain.py'
    plain.write_text(CONFIG.format(root=ROOT, classes=CLASSES))
    encoder = build_model(load_config(str(plain))).backbone.encoder
    torch.save(encoder.state_dict(), tmp_path / 'encoder.pth')
    text = CONFIG.format(root=ROOT, classes=CLASSES).replace('/no/such/data', f'{tmp_path}/data')
    text = text.replace('pretrained=False', f"pretrained='{tmp_path}/encoder.pth', frozen=True")
    config = tmp_path / 'frozen.py'
    config.write_text(text.replace("vit_feature='per_stage'", "vit_feature='last', injector=False"))
    return config


def config_of_the_page(frozen_config):
    """The configuration that docs/encoders.md shows, on the tiny task."""
    page = (ROOT / 'docs' / 'encoders.md').read_text()
    blocks = re.findall(r'```python\n(.*?)```', page, re.DOTALL)
    (text,) = [block for block in blocks if 'data/features' in block]
    for theirs, ours in (
        ('./upernet_vitadapter_s_dinov2_frozen.py', f'./{frozen_config.name}'),
        ('data/features', f'{frozen_config.parent}/features'),
        ('(512, 512)', '(64, 64)'),
    ):
        assert theirs in text
        text = text.replace(theirs, ours)
    config = frozen_config.parent / 'cached.py'
    config.write_text(text)
    return config


@pytest.mark.slow
def test_the_page_word_by_word(frozen_config, tmp_path, monkeypatch):
    """Made in two goes, trained on; the same losses without kept features; evaluated without."""
    config = config_of_the_page(frozen_config)
    folder = tmp_path / 'features'
    command = ['dataset/cache_features.py', config, folder, '--device', 'cpu']
    write = FeatureFolder.write

    def killed(self, file, features):
        if len(list(folder.glob('*.safetensors'))) == 2:
            (folder / 'half.1.partial').write_bytes(b'half')
            raise KeyboardInterrupt
        write(self, file, features)

    monkeypatch.setattr(FeatureFolder, 'write', killed)
    with pytest.raises(KeyboardInterrupt):
        run_tool(*command, '--dtype', 'float32')
    monkeypatch.undo()
    assert len(list(folder.glob('*.safetensors'))) == 2
    _, printed = run_tool(*command, '--dtype', 'float32')
    assert '4 images, 2 computed' in printed

    plain = tmp_path / 'without.py'
    plain.write_text(config.read_text().split('model = dict(')[0])
    losses = {}
    for name in (config, plain):
        work = tmp_path / f'work_{name.stem}'
        run_tool('train.py', name, '--work-dir', work, '--seed', 3)
        losses[name] = losses_by_iteration(work)
    assert losses[config] == pytest.approx(losses[plain], rel=1e-4)
    checkpoint = tmp_path / 'work_cached' / 'iter_4.pth'
    metrics = [
        run_tool('test.py', name, checkpoint, '--work-dir', tmp_path / 'test')[0]
        for name in (config, frozen_config)
    ]
    assert metrics[0] == metrics[1]

    weights = torch.load(tmp_path / 'encoder.pth')
    torch.save({name: tensor + 0.1 for name, tensor in weights.items()}, tmp_path / 'encoder.pth')
    for again in (command, ['train.py', config, '--work-dir', tmp_path / 'other']):
        with pytest.raises((SystemExit, ValueError), match='are of another encoder: weights'):
            run_tool(*again)


def test_weights_drawn_anew_are_another_encoder(tool, tiny_config, tmp_path, capsys):
    command = [str(tiny_config), str(tmp_path / 'kept'), '--split', 'val', '--device', 'cpu']
    options = ['--cfg-options', *FROZEN]
    assert tool.main([*command, *options]) == 0
    assert '3 images, 3 computed' in capsys.readouterr().out
    assert len(list((tmp_path / 'kept').glob('*.safetensors'))) == 3
    with pytest.raises(SystemExit, match='are of another encoder: weights'):
        tool.main([*command, *options])


def test_what_cannot_be_kept_is_refused(tool, tiny_config, tmp_path):
    command = [str(tiny_config), str(tmp_path), '--device', 'cpu']
    with pytest.raises(SystemExit, match='in another form each time.*--split val'):
        tool.main([*command, '--cfg-options', *FROZEN])
    with pytest.raises(SystemExit, match='set injector=False in the backbone'):
        tool.main([*command, '--cfg-options', FROZEN[0]])
    with pytest.raises(SystemExit, match='only features of a frozen encoder'):
        tool.main([*command, '--cfg-options', FROZEN[1]])
    assert not list(tmp_path.iterdir())
