"""`tools/export.py`: files that compute what the models do, and what cannot be."""

from __future__ import annotations

import json
import logging
import shutil
import site
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import Config
from tiny_detection import ROOT, load_tool, run_tool
from tiny_segmentation import CLASSES, CONFIG, write_images

from vitadapter_dense.inference.predictor import Predictor, build_model

FILE = ROOT / 'vitadapter_dense' / 'inference' / 'exported.py'
STEP = 'test_dataloader.dataset.pipeline.1'  # Resize
# what onnxruntime imports, and its own names
WITHOUT_TORCH = ('numpy', 'PIL', 'pillow', 'onnxruntime', 'flatbuffers', 'google', 'packaging')


@pytest.fixture(autouse=True)
def _no_trace_of_tracing(monkeypatch: pytest.MonkeyPatch) -> None:
    """pytest would format, and keep, every symbol that torch makes."""
    monkeypatch.setattr(logging.getLogger('torch.__trace'), 'propagate', False)


def needs_onnx() -> None:
    for name in ('onnx', 'onnxscript', 'onnxruntime'):
        pytest.importorskip(name, reason='needs the extra `export`')


@pytest.fixture(scope='module')
def segmentor(tmp_path_factory) -> tuple[Path, Path, Path]:
    """Configuration, checkpoint and images of a segmentor that slides, with wild weights."""
    folder = tmp_path_factory.mktemp('segmentor')
    write_images(folder / 'data', 2)
    text = CONFIG.format(root=ROOT, classes=CLASSES)
    for old, new in {
        "mode='whole'": "mode='slide', crop_size=(64, 64), stride=(48, 48)",
        'scale=(80, 64)': 'scale=(320, 96)',
        'depth=4': 'depth=2',
        "vit_feature='per_stage'": 'interaction_indexes=[[0, 1]], use_extra_extractor=False',
    }.items():
        assert old in text
        text = text.replace(old, new)
    (folder / 'seg.py').write_text(text.replace('/no/such/data/', f'{folder}/data/'))
    save_wild_weights(folder / 'seg.py', folder / 'seg.pth')
    return folder / 'seg.py', folder / 'seg.pth', folder / 'data' / 'images'


def save_wild_weights(config: Path, checkpoint: Path, scale: float = 0.1) -> None:
    """Nothing is zero, so that no part of the model is without effect."""
    torch.manual_seed(0)
    model = build_model(Config.fromfile(config))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * scale)
    torch.save(dict(state_dict=model.state_dict(), meta={}), checkpoint)


def run_without_torch(folder: Path, *arguments: object) -> list[dict]:
    """Runs the copied predictor where there is nothing but its three packages."""
    packages = folder / 'packages'
    packages.mkdir(exist_ok=True)
    for place in map(Path, [*site.getsitepackages(), *sys.path]):
        for name in WITHOUT_TORCH:
            for found in place.glob(f'{name}*') if 'site-packages' in place.parts else ():
                if not (packages / found.name).exists():
                    (packages / found.name).symlink_to(found)
    copied = shutil.copy(FILE, folder / 'predict.py')
    code = f"""
import sys, runpy
sys.path.insert(0, {str(packages)!r})
for name in ('torch', 'mmcv', 'mmengine', 'cv2', 'vitadapter_dense'):
    try:
        __import__(name)
    except ImportError:
        continue
    raise SystemExit(name + ' is here')
sys.argv = {[str(copied), *map(str, arguments)]!r}
runpy.run_path(sys.argv[0], run_name='__main__')
"""
    done = subprocess.run(
        [sys.executable, '-I', '-S', '-c', code], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return [json.loads(line) for line in done.stdout.splitlines()]


@pytest.mark.slow
def test_a_segmentor_that_slides(segmentor, tmp_path):
    """All sizes; the copied predictor finds what `Predictor` finds."""
    needs_onnx()
    import onnx

    config, checkpoint, images = segmentor
    out = tmp_path / 'seg.onnx'
    _, said = run_tool('export.py', config, checkpoint, '--out', out, '--size', 'dynamic')
    assert said.count('logits') == 4
    nodes = onnx.load(out).graph.node
    assert {node.domain for node in nodes} == {''}

    from vitadapter_dense.inference.exported import ExportedPredictor

    image = images / '0.jpg'
    expected = Predictor(str(config), checkpoint, device='cpu')(str(image)).label_map
    assert len(np.unique(expected)) > 1
    assert (ExportedPredictor(out)(image).label_map == expected).mean() > 0.99
    (line,) = run_without_torch(tmp_path, out, image)
    assert sum(line['pixels'].values()) == expected.size


@pytest.mark.slow
def test_a_detector(tiny_task, tmp_path):
    """The file finds what `Predictor` finds, in pixels of the image."""
    needs_onnx()
    from vitadapter_dense.inference.exported import ExportedPredictor

    config = tmp_path / 'tiny.py'
    smaller = dict(depth=2, window_sizes=[2, None])
    config.write_text(
        f'_base_ = {str(tiny_task.config)!r}\n'
        f'model = dict(backbone=dict(encoder=dict(**{smaller!r}), interaction_indexes=[[0, 1]]))\n'
    )
    save_wild_weights(config, tmp_path / 'tiny.pth', scale=0.02)
    out = tmp_path / 'tiny.onnx'
    run_tool('export.py', config, tmp_path / 'tiny.pth', '--out', out, '--size', '64x96')
    image = tiny_task.data / 'val' / 'val_0.jpg'
    expected = Predictor(str(config), tmp_path / 'tiny.pth', device='cpu')(str(image))
    found = ExportedPredictor(out)(image)
    assert len(expected.boxes)
    np.testing.assert_allclose(found.boxes, expected.boxes, atol=0.01)
    np.testing.assert_array_equal(found.labels, expected.labels)
    assert found.masks.shape == expected.masks.shape


def test_a_file_that_computes_something_else_is_not_left(segmentor, tmp_path, monkeypatch):
    from vitadapter_dense.export import exporter

    config, checkpoint, _ = segmentor
    graphs, sizes = [], []

    def trace(graph, inputs, given, *, apart):
        graphs.append(graph)
        sizes.append(given.fixed)

    def runner_of(kind, path):
        assert path.read_text() == kind
        return torch.no_grad()(
            lambda inputs: [1.01 * graphs[0](torch.from_numpy(inputs['images']))[0].numpy()]
        )

    monkeypatch.setattr(exporter, 'trace', trace)
    monkeypatch.setattr(exporter, 'write', lambda kind, program, path, graph: path.write_text(kind))
    monkeypatch.setattr(exporter, 'runner_of', runner_of)
    out = tmp_path / 'seg.pt2'
    with pytest.raises(SystemExit, match='does not compute what the model does:\n  logits '):
        run_tool('export.py', config, checkpoint, '--out', out, '--format', 'pt2')
    assert sizes == [(64, 64)]  # the window's, unless another one is given
    assert not list(tmp_path.glob('seg*'))


@pytest.mark.parametrize(
    ('options', 'said'),
    [
        (['--size', '96x96'], 'slides a window of 64x64'),
        (['--images', '{folder}'], 'no images in'),
        (['--cfg-options', f'{STEP}.interpolation=bicubic'], 'needs a scale .* bilinear'),
        (['--cfg-options', 'model.decode_head.num_classes=4'], 'checkpoint'),
        (
            ['--cfg-options', f'{STEP}.backend=pillow', f'{STEP}.scale=(60,48)'],
            'prepare images .*\n  prepared image ',
        ),
    ],
)
def test_what_cannot_be_is_said_before_the_work(segmentor, tmp_path, options, said):
    config, checkpoint, _ = segmentor
    options = [word.format(folder=tmp_path) for word in options]
    out = tmp_path / 'seg.pt2'
    with pytest.raises(SystemExit, match=said):
        run_tool('export.py', config, checkpoint, '--out', out, '--format', 'pt2', *options)
    assert not out.exists()


@pytest.mark.parametrize(
    'arguments', [['--size', '5'], ['--gather', '--format', 'pt2'], ['--out', 'a.pt2']]
)
def test_slips_of_the_command_line(segmentor, arguments, capsys):
    with pytest.raises(SystemExit):
        load_tool('export.py').parse_args([*map(str, segmentor[:2]), *arguments])
    assert 'error: ' in capsys.readouterr().err
