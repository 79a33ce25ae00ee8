"""`tools/dataset/cache_features.py`: resumable, and refuses what cannot be kept."""

from __future__ import annotations

import pytest
from tiny_detection import load_tool

FROZEN = ('model.backbone.encoder.frozen=True', 'model.backbone.injector=False')


@pytest.fixture(scope='module')
def tool():
    return load_tool('dataset/cache_features.py')


def test_a_stopped_run_goes_on_where_it_was(tool, tiny_config, tmp_path, capsys):
    command = [str(tiny_config), str(tmp_path / 'kept'), '--split', 'val', '--device', 'cpu']
    options = ['--cfg-options', *FROZEN]
    assert tool.main([*command, *options]) == 0
    assert '3 images, 3 computed' in capsys.readouterr().out
    files = sorted((tmp_path / 'kept').iterdir())
    assert len(files) == 3
    files[1].unlink()
    assert tool.main([*command, *options]) == 0
    assert '3 images, 1 computed' in capsys.readouterr().out
    assert sorted((tmp_path / 'kept').iterdir()) == files


def test_what_cannot_be_kept_is_refused(tool, tiny_config, tmp_path):
    command = [str(tiny_config), str(tmp_path), '--device', 'cpu']
    with pytest.raises(SystemExit, match='in another form each time.*--split val'):
        tool.main([*command, '--cfg-options', *FROZEN])
    with pytest.raises(SystemExit, match='set injector=False in the backbone'):
        tool.main([*command, '--cfg-options', FROZEN[0]])
    with pytest.raises(SystemExit, match='only features of a frozen encoder'):
        tool.main([*command, '--cfg-options', FROZEN[1]])
    assert not list(tmp_path.iterdir())
