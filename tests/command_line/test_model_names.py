"""Released models by name: which are found, which are refused, and what the page says of them."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from vitadapter_cli import config_path, find_model, list_models, released_checkpoint
from vitadapter_cli.released_models import MODELS_OF_THE_ORIGINAL

ROOT = Path(__file__).resolve().parents[2]
sys.path.append(str(ROOT / 'tools'))

import models as tool  # noqa: E402


def test_every_model_has_a_name_and_an_address_of_its_own():
    names = list_models()
    assert len(names) == len(set(names)) == 34
    assert len({model.address for model in MODELS_OF_THE_ORIGINAL}) == 34
    assert len(list_models('coco/*')) == 13
    assert all(find_model(name).name == name for name in names)


def test_a_model_has_its_configuration(monkeypatch, tmp_path):
    """From an empty folder, too: the files come with the package."""
    monkeypatch.chdir(tmp_path)
    for model in MODELS_OF_THE_ORIGINAL:
        assert config_path(model.config).is_file()
        assert config_path(model.name) == config_path(model.config)
        assert released_checkpoint(model.name) == model


def test_short_names_are_taken_where_they_are_clear():
    assert find_model('mask_rcnn_vitadapter_s').name == 'coco/mask_rcnn_vitadapter_s'
    assert find_model('upernet_vitadapter_l').name == 'ade20k/upernet_vitadapter_l'
    with pytest.raises(
        LookupError, match='5 released models: .*ade20k/mask2.*pascal_context/mask2'
    ):
        find_model('mask2former_vitadapter_l_beit')
    with pytest.raises(LookupError, match='did you mean coco/mask_rcnn_vitadapter_s'):
        find_model('coco/maskrcnn_vitadapter_s')
    with pytest.raises(LookupError, match='did you mean .*coco/cascade_mask_rcnn_vitadapter_b'):
        find_model('cascade_mask_rcnn_vitadapter_B')
    with pytest.raises(LookupError, match='list_models'):
        find_model('resnet50')


def test_a_path_is_answered_with_paths(monkeypatch, tmp_path):
    """And not with models that have nothing to do with it."""
    monkeypatch.chdir(tmp_path)
    (run := tmp_path / 'work_dirs' / 'shapes' / 'mask_rcnn_vitadapter_xs').mkdir(parents=True)
    (run / 'iter_9.pth').touch()
    place = 'work_dirs/shapes/mask_rcnn_vitadapter_xs'
    for wrong in (
        'work_dirs/shapes/mask_rcnn_vitadapter_s',
        'work_dir/shapes/mask_rcnn_vitadapter_xs',
        f'{run}_'.replace('xs_', 'xx'),
        'mask_rcnn_vitadapter_xs',
    ):
        with pytest.raises(FileNotFoundError, match=f'Did you mean .*{place}') as caught:
            released_checkpoint(wrong)
        assert 'coco/' not in str(caught.value)
    with pytest.raises(FileNotFoundError, match=f'mean {place}/iter_9.pth'):
        released_checkpoint(f'{place}/iter_8.pth')
    for wrong in ('other/mask_rcnn_vitadapter_t', 'a.pth', '../mask_rcnn_vitadapter_t', '/x/y'):
        with pytest.raises(FileNotFoundError, match='no work directory at [^ ]*$'):
            released_checkpoint(wrong)
    with pytest.raises(FileNotFoundError, match='did you mean coco/mask_rcnn_vitadapter_s'):
        released_checkpoint('coco/maskrcnn_vitadapter_s')


def test_configurations_have_short_names_too():
    for name in ('mask_rcnn_vitadapter_s', 'mask_rcnn_vitadapter_s.py'):
        assert config_path(name) == ROOT / 'configs' / 'coco' / 'mask_rcnn_vitadapter_s.py'
    with pytest.raises(FileNotFoundError, match='called upernet_vitadapter_l: .*/ade20k/.*/pascal'):
        config_path('upernet_vitadapter_l')
    for name in ('mask_rcnn_vitadapter_s.pth', '*', 'coco', ''):
        with pytest.raises(FileNotFoundError):
            config_path(name)


def test_the_page_is_what_the_command_writes(tmp_path, capsys):
    page = ROOT / 'docs' / 'models.md'
    copy = tmp_path / 'models.md'
    copy.write_text(page.read_text().replace('58.3 / 59.0', '99'))
    assert tool.main(['--page', str(copy)]) == 0
    assert copy.read_text() == page.read_text()
    (tmp_path / 'other.md').write_text('no marks')
    with pytest.raises(SystemExit, match='no table between'):
        tool.main(['--page', str(tmp_path / 'other.md')])
    capsys.readouterr()
    assert tool.main(['cityscapes/*', 'mask_rcnn_vitadapter_t']) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == [
        'cityscapes/mask2former_vitadapter_l_beit',
        'coco/mask_rcnn_vitadapter_t',
    ]
