"""tools/analysis: the numbers and pictures are those of the configuration and the run."""

from __future__ import annotations

import json
import re
from pathlib import Path

import cv2
import pytest
import torch
from matplotlib import pyplot
from tiny_detection import ROOT, TinyTask, run_tool
from torch import nn

from msda import MSDeformAttn
from vitadapter_dense.checkpoints import read_checkpoint
from vitadapter_dense.inference.feature_maps import encoder_maps, feature_maps
from vitadapter_dense.inference.predictor import Predictor
from vitadapter_dense.reports.curves import chosen_losses, curves_figure, draw_curve
from vitadapter_dense.reports.flops import count_flops
from vitadapter_dense.reports.run_logs import Curves, read_curves, scalar_files


def test_curves_are_drawn_beside_the_run(tiny_task: TinyTask) -> None:
    status, printed = run_tool('analysis/plot_logs.py', tiny_task.work_dir)
    assert status == 0
    assert str(tiny_task.work_dir / 'curves.png') in printed
    assert 'coco/segm_mAP last' in printed
    assert cv2.imread(str(tiny_task.work_dir / 'curves.png')).std() > 0


def test_resumed_logs_make_one_curve_and_half_a_line_is_left_out(tmp_path: Path) -> None:
    for start, losses in (
        ('20260101_000000', [3.0, 2.0, 9.0]),
        ('20260101_000100', [None, None, 1.0]),
    ):
        records = [
            json.dumps(dict(loss=loss, iter=step, epoch=1))
            for step, loss in enumerate(losses, start=1)
            if loss is not None
        ]
        folder = tmp_path / start / 'vis_data'
        folder.mkdir(parents=True)
        metric = json.dumps({'coco/bbox_mAP': 0.25, 'step': 1})
        (folder / 'scalars.json').write_text('\n'.join([*records, metric, '{"loss": 0.', '']))
    curves = read_curves(tmp_path, scalar_files(tmp_path))
    assert {step: record['loss'] for step, record in curves.train.items()} == {1: 3, 2: 2, 3: 1}
    assert curves.metrics[1]['coco/bbox_mAP'] == 0.25
    assert curves.step_name == 'epoch'
    assert curves.broken_lines == 2


def test_each_loss_of_a_run_has_a_curve_and_the_total_of_several() -> None:
    records = {1: dict(loss=3.0, loss_a=1.0, lr=0.1), 2: {'loss': 3.0, 'decode.loss_b': 2.0}}
    run = Curves('one', train=records, metrics={2: {'mIoU': 50.0}})
    left, middle, right = curves_figure([run], metrics=['mIoU']).axes
    assert [line.get_label() for line in left.lines] == ['loss', 'decode.loss_b', 'loss_a']
    assert [line.get_xydata().tolist() for line in middle.lines] == [[[1, 0.1]]]
    assert [line.get_xydata().tolist() for line in right.lines] == [[[2, 50.0]]]
    assert chosen_losses([run, run], None) == ['loss']
    many = {f'd{n}.loss_cls': float(n) for n in range(30)}
    chosen = chosen_losses([Curves('many', train={1: dict(loss=435.0, **many)})], None)
    assert chosen[:2] == ['loss', 'd29.loss_cls']
    assert len(chosen) == 10


def test_single_point_is_seen() -> None:
    figure, axes = pyplot.subplots()
    draw_curve(axes, [(1, 0.5)], label='one')
    draw_curve(axes, [(step, 0.5) for step in range(500)], label='many')
    draw_curve(axes, [], label='none')
    markers = [line.get_marker() for line in axes.lines]
    pyplot.close(figure)
    assert markers == ['o', '']


def test_plot_of_an_empty_folder_or_unknown_metric_is_an_error(
    tiny_task: TinyTask, tmp_path: Path
) -> None:
    with pytest.raises(SystemExit, match='scalars.json'):
        run_tool('analysis/plot_logs.py', tmp_path)
    with pytest.raises(SystemExit, match='coco/nothing.*coco/bbox_mAP'):
        run_tool('analysis/plot_logs.py', tiny_task.work_dir, '--metrics', 'coco/nothing')
    with pytest.raises(SystemExit, match='nosuch.*loss_rpn_cls'):
        run_tool('analysis/plot_logs.py', tiny_task.work_dir, '--losses', 'nosuch')


def test_parameter_count_is_the_checkpoints(tiny_task: TinyTask) -> None:
    options = ['--depth', 1, '--cfg-options', 'model.backbone.encoder.frozen=True']
    _, printed = run_tool('analysis/count_params.py', tiny_task.config, *options)
    table = {row.split()[0]: row.split() for row in printed.splitlines() if '%' in row}
    state = read_checkpoint(tiny_task.work_dir / 'epoch_2.pth')['state_dict']
    buffers = ('running_mean', 'running_var', 'num_batches_tracked')
    weights = {name: value for name, value in state.items() if not name.endswith(buffers)}
    backbone = sum(value.numel() for name, value in weights.items() if name.startswith('backbone.'))
    encoder = sum(value.numel() for name, value in weights.items() if '.encoder.' in name)
    assert int(table['backbone'][1].replace(',', '')) == backbone
    assert int(table['backbone'][2].replace(',', '')) == backbone - encoder
    total = sum(value.numel() for value in weights.values())
    assert f'of {total / 1e6:.2f} M' in printed


def test_count_of_a_real_configuration_needs_no_weights() -> None:
    config = ROOT / 'configs' / 'coco' / 'mask_rcnn_vitadapter_s.py'
    _, printed = run_tool('analysis/count_params.py', config, '--depth', 1)
    millions = float(re.search(r'of ([\d.]+) M', printed)[1])
    # 47.8 M in table 1 of the ViT-Adapter paper
    assert millions == pytest.approx(47.8, abs=0.3)


def test_flops_of_known_layers_are_told_by_module() -> None:
    layers = nn.Sequential()
    layers.add_module('conv', nn.Conv2d(3, 8, 3, padding=1, bias=False))
    layers.add_module('pool', nn.AdaptiveAvgPool2d(1))
    layers.add_module('head', nn.Sequential(nn.Flatten(), nn.Linear(8, 5, bias=False)))
    flops = count_flops(layers, lambda: layers(torch.zeros(1, 3, 16, 16)))
    conv, head = 2 * 16 * 16 * 8 * 3 * 9, 2 * 8 * 5
    assert flops[''] == conv + head
    assert flops['conv'] == conv
    assert flops['head'] == flops['head.1'] == head


@pytest.mark.parametrize('part', ['backbone', 'model'])
def test_flops_of_a_configuration(tiny_task: TinyTask, part: str) -> None:
    arguments = ['--shape', 64, 96, '--part', part, '--depth', 3]
    _, printed = run_tool('analysis/get_flops.py', tiny_task.config, *arguments)
    rows = {row.split()[0]: row.split() for row in printed.splitlines() if '%' in row}
    prefix = 'backbone.' if part == 'model' else ''
    children = ('encoder', 'spm', 'interactions')
    shares = [float(rows[prefix + child][2].rstrip('%')) for child in children]
    assert all(share > 0 for share in shares)
    assert sum(shares) <= 100.1
    if part == 'model':
        assert float(rows['rpn_head'][1]) > 0
        assert float(rows['roi_head'][1]) > 0


@pytest.mark.parametrize('name', ['sparse_rcnn_vitadapter_xs', 'classifier_r18_xs'])
def test_flops_of_models_that_run_otherwise(name: str) -> None:
    if name.startswith('classifier'):
        pytest.importorskip('mmpretrain')
    config = ROOT / 'configs' / 'shapes' / f'{name}.py'
    _, printed = run_tool('analysis/get_flops.py', config, '--part', 'model', '--shape', 64)
    rows = {row.split()[0]: row.split() for row in printed.splitlines() if '%' in row}
    parts = [row for name, row in rows.items() if name != 'total']
    assert len(parts) > 1
    assert float(rows['backbone'][1]) > 0
    total = float(rows['total'][1])
    assert sum(float(row[1]) for row in parts) == pytest.approx(total, abs=0.01)


def test_flops_of_deformable_attention_are_its_own() -> None:
    attention = MSDeformAttn(16, n_levels=1, n_heads=2, n_points=4)
    query, references = torch.zeros(1, 9, 16), torch.zeros(1, 9, 1, 2)
    feat = torch.zeros(1, 16, 16)
    flops = count_flops(attention, lambda: attention(query, references, feat, [(4, 4)]))
    value, output = 2 * 16 * 16 * 16, 2 * 9 * 16 * 16
    offsets, weights = 2 * 9 * 16 * (2 * 4 * 2), 2 * 9 * 16 * (2 * 4)
    # each of 9 queries x 2 heads x 4 points reads and weighs at least 8 channels
    sampling = 9 * 2 * 4 * 8
    assert flops[''] >= value + output + offsets + weights + sampling


def test_attention_counts_the_same_on_the_cpu_and_on_the_meta_device() -> None:
    """The CPU's kernel of attention counted as nothing, and so did `--part model`."""

    class Attention(nn.Module):
        def forward(self, q: torch.Tensor, k: torch.Tensor) -> torch.Tensor:
            return nn.functional.scaled_dot_product_attention(q, k, k)

    def flops(device: str) -> int:
        attention = Attention()
        q, k = torch.zeros(2, 3, 8, 16, device=device), torch.zeros(2, 3, 20, 16, device=device)
        return count_flops(attention, lambda: attention(q, k))['']

    assert flops('cpu') == flops('meta') == 2 * 2 * (2 * 3 * 8 * 20 * 16)


def test_feature_maps_with_and_without_adapter(tiny_task: TinyTask, tmp_path: Path) -> None:
    model = [tiny_task.config, tiny_task.work_dir]
    images = [tiny_task.data / 'val' / f'val_{number}.jpg' for number in range(2)]
    for baseline in ([], ['--baseline', *model]):
        arguments = [*model, *images, '--out-dir', tmp_path, '--device', 'cpu', *baseline]
        status, printed = run_tool('analysis/feature_maps.py', *arguments)
        assert status == 0
        for name in ('maps.png', 'spectrum.png'):
            assert str(tmp_path / name) in printed
            assert cv2.imread(str(tmp_path / name)).std() > 0


def test_the_encoder_alone_knows_nothing_of_the_adapter(tiny_task: TinyTask) -> None:
    predictor = Predictor(tiny_task.work_dir, device='cpu')
    image = predictor.read(tiny_task.data / 'val' / 'val_0.jpg')
    maps, strides = feature_maps(predictor, image)
    assert strides == [4, 8, 16, 32]
    height, width = predictor.prepare_array(image)['data_samples'][0].img_shape
    assert [each.shape[1:] for each in maps] == [
        (-(-height // stride), -(-width // stride)) for stride in strides
    ]
    alone = encoder_maps(predictor, image, maps)
    with torch.no_grad():
        for parameter in predictor.model.backbone.spm.parameters():
            parameter.zero_()
    torch.testing.assert_close(encoder_maps(predictor, image, maps), alone)
    assert not torch.equal(feature_maps(predictor, image)[0][0], maps[0])
    predictor.model.backbone = predictor.model.backbone.encoder.patch_embed
    with pytest.raises(ValueError, match='PatchEmbed has no encoder that runs alone'):
        encoder_maps(predictor, image, maps)


def test_samples_are_drawn_as_the_model_sees_them(tiny_task: TinyTask, tmp_path: Path) -> None:
    arguments = [tiny_task.config, '--num', 2, '--out-dir', tmp_path]
    _, printed = run_tool('analysis/browse_dataset.py', *arguments)
    assert '2 of 6' in printed
    pictures = sorted(tmp_path.glob('*.png'))
    assert [picture.name[:5] for picture in pictures] == ['00000', '00001']
    for picture in pictures:
        assert cv2.imread(str(picture)).shape == (64 * 8, 80 * 8, 3)  # enlarged for drawing
