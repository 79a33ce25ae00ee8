"""The predictor without torch, against what it takes the place of."""

from __future__ import annotations

import ast
import hashlib
import json
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from vitadapter_dense.inference import exported

ROOT = Path(__file__).resolve().parents[2]
FILE = ROOT / 'vitadapter_dense' / 'inference' / 'exported.py'

ABOUT = dict(
    format=exported.FORMAT,
    task='semantic',
    model_sha256='0' * 64,
    input=dict(size=None, divisor=32, smallest=64, largest=4096, batch=None),
    mean=[0.0] * 3,
    std=[1.0] * 3,
    channel_order='rgb',
    pad_value=0.0,
    resize=dict(scale=[80, 64], keep_ratio=True),
    resize_to_multiple=None,
    window=None,
    classes=['a', 'b'],
    inputs=['images'],
    outputs=['logits'],
    align_corners=False,
    threshold=None,
    mask_threshold=None,
)


def test_it_imports_three_packages_alone():
    known = {'numpy', 'PIL', 'onnxruntime'}
    for node in ast.walk(ast.parse(FILE.read_text())):
        names = [alias.name for alias in getattr(node, 'names', [])]
        names = [node.module] if isinstance(node, ast.ImportFrom) else names
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            tops = {name.partition('.')[0] for name in names}
            assert tops <= known | set(__import__('sys').stdlib_module_names), names


def test_resizing_is_opencvs():
    generator = np.random.default_rng(0)
    for old, new in [
        ((64, 80), (33, 97)),
        ((5, 7), (64, 3)),
        ((40, 41), (20, 20)),
        ((1, 9), (7, 7)),
    ]:
        image = generator.integers(0, 256, (*old, 3), dtype=np.uint8)
        found = exported.resize_as_opencv(image, new)
        expected = cv2.resize(image, new[::-1], interpolation=cv2.INTER_LINEAR)
        assert np.abs(found.astype(int) - expected).max() <= 1
        assert (found == expected).mean() > 0.9


@pytest.mark.parametrize('align_corners', [False, True])
def test_scores_are_resized_as_torch_does(align_corners):
    scores = torch.randn(6, 9)
    for size in ((6, 9), (13, 31), (4, 3), (1, 1)):
        expected = torch.nn.functional.interpolate(
            scores[None, None], size=size, mode='bilinear', align_corners=align_corners
        )
        found = exported.resize_scores(scores.numpy(), size, align_corners=align_corners)
        np.testing.assert_allclose(found, expected[0, 0].numpy(), atol=1e-5)


def test_masks_are_pasted_as_mmdet_does():
    paste = pytest.importorskip('mmdet.models.roi_heads.mask_heads.fcn_mask_head')._do_paste_mask
    torch.manual_seed(0)
    for box in ([3.2, 4.7, 20.1, 15.5], [-4.0, 2.0, 9.0, 40.0], [10.0, 10.0, 10.6, 10.4]):
        small, boxes = torch.rand(1, 1, 7, 7), torch.tensor([box])
        whole, _ = paste(small, boxes, 24, 32, skip_empty=False)
        found = np.zeros((24, 32), bool)
        exported.paste_mask(found, small[0, 0].numpy(), boxes[0].numpy(), threshold=0.5)
        near = (whole[0] - 0.5).abs().numpy() < 1e-4
        assert ((found == (whole[0] >= 0.5).numpy()) | near).all()


@pytest.mark.parametrize(
    ('change', 'said'),
    [
        (dict(format='x'), 'describes no exported model'),
        (dict(mean=[1, 2]), "'mean'"),
        (dict(std=[1, 0, 1]), "'std'"),
        (dict(std=[1, 1e-300, 1]), "'std'"),  # 0 as float32
        (dict(window=dict(size=[64], stride=[1, 1])), "'window'"),
        (dict(window=dict(size=[64, 64], stride=[64, 65])), "'window'"),  # pixels in none
        (dict(task=['semantic']), "'task'"),
        (dict(outputs=['scores']), "'outputs'"),
        (dict(task='instances', outputs=[*exported.OBJECTS, 'masks']), "'mask_threshold'"),
        (dict(input=dict(size=[0, 64])), "'input'"),
        (dict(classes='ab'), "'classes'"),
        (dict(threshold=2), "'threshold'"),
        (dict(resize=dict(scale=[1e9, 2], keep_ratio=True)), "'resize'"),
    ],
)
def test_a_description_is_checked(tmp_path, change, said):
    path = tmp_path / 'model.json'
    path.write_text(json.dumps(ABOUT))
    assert exported.read_description(path) == ABOUT
    path.write_text(json.dumps(ABOUT | change))
    with pytest.raises(exported.DescriptionError, match=said):
        exported.read_description(path)


def test_a_number_without_end_is_no_description(tmp_path):
    path = tmp_path / 'model.json'
    path.write_text('9' * 5000)
    with pytest.raises(exported.DescriptionError, match='is no JSON'):
        exported.read_description(path)


def write_model(path: Path, about: dict, operator: str = 'Conv') -> None:
    """A model of one operator, whose scores are the image's channels, and its description."""
    onnx = pytest.importorskip('onnx', reason='needs the extra `export`')
    pytest.importorskip('onnxruntime', reason='needs the extra `export`')
    made, floats = onnx.helper, onnx.TensorProto.FLOAT
    weights = np.eye(2, 3, dtype=np.float32)[..., None, None]
    sides = [
        made.make_tensor_value_info(name, floats, ['batch', maps, 'rows', 'columns'])
        for name, maps in (('images', 3), ('logits', 2))
    ]
    node = made.make_node(operator, ['images', 'weights'], ['logits'])
    weights = [onnx.numpy_helper.from_array(weights, 'weights')]
    graph = made.make_graph([node], 'tiny', sides[:1], sides[1:], weights)
    versions = [made.make_opsetid('', 20)]
    onnx.save(made.make_model(graph, opset_imports=versions, ir_version=10), path)
    about = about | dict(model_sha256=hashlib.sha256(path.read_bytes()).hexdigest())
    path.with_name(f'{path.name}.json').write_text(json.dumps(about))


def test_a_description_of_another_model(tmp_path):
    path = tmp_path / 'm.onnx'
    write_model(path, ABOUT)
    image = np.random.default_rng(0).integers(0, 256, (64, 80, 3), np.uint8)
    found = exported.ExportedPredictor(path)(image)
    np.testing.assert_array_equal(found.label_map, image[..., 1] > image[..., 2])
    for change, said in (
        (dict(inputs=['image']), r"'inputs' is \['image'\], and of the model \['images'\]"),
        (dict(classes=['a']), "'classes' has 1 names, and the model 2 scores"),
        (dict(model_format='pt2'), 'a package for torch, no ONNX file'),
    ):
        write_model(path, ABOUT | change)
        with pytest.raises(exported.DescriptionError, match=said):
            exported.ExportedPredictor(path)
    write_model(path, ABOUT, operator='NoSuchOperator')
    with pytest.raises(RuntimeError, match=r'does not take .*m\.onnx: .*NoSuchOperator.*Mend'):
        exported.ExportedPredictor(path)
    path.write_bytes(b'other')
    with pytest.raises(exported.DescriptionError, match='describes another model'):
        exported.ExportedPredictor(path)
    with pytest.raises(FileNotFoundError, match=r'n\.onnx\.json'):
        exported.ExportedPredictor(path.rename(tmp_path / 'n.onnx'))
