"""The same tools on a segmentation configuration, from training to pictures."""

from __future__ import annotations

import pickle
from pathlib import Path

import cv2
import numpy as np
import pytest
from pycocotools import mask as coco_mask
from tiny_detection import ROOT, TinyTask, losses_by_iteration, run_tool
from tiny_segmentation import CLASSES, CONFIG, write_images

from vitadapter_dense import Predictor

pytestmark = pytest.mark.slow


@pytest.fixture(scope='module')
def seg_task(tmp_path_factory: pytest.TempPathFactory) -> TinyTask:
    """The tiny segmentation task after `tools/train.py` has run on it."""
    folder = tmp_path_factory.mktemp('segmentation')
    write_images(folder / 'data', 4)
    config = folder / 'tiny_seg.py'
    config.write_text(CONFIG.format(root=ROOT, classes=CLASSES))
    arguments = ['--work-dir', folder / 'work', '--data-root', folder / 'data', '--amp']
    _, printed = run_tool('train.py', config, *arguments)
    return TinyTask(config, folder / 'data', folder / 'work', printed)


def test_training_in_bfloat16_logs_every_iteration_and_resumes_exactly(
    seg_task: TinyTask, tmp_path: Path
) -> None:
    expected = losses_by_iteration(seg_task.work_dir)
    assert sorted(expected) == [1, 2, 3, 4]
    assert np.isfinite(list(expected.values())).all()
    checkpoint = seg_task.work_dir / 'iter_2.pth'
    arguments = ['--work-dir', tmp_path, '--data-root', seg_task.data, '--amp']
    run_tool('train.py', seg_task.config, *arguments, '--resume', checkpoint)
    resumed = losses_by_iteration(tmp_path)
    assert sorted(resumed) == [3, 4]
    assert resumed == pytest.approx({step: expected[step] for step in (3, 4)}, rel=1e-5)
    assert (tmp_path / 'iter_4.pth').is_file()
    other = ['--work-dir', tmp_path / 'other', '--resume', checkpoint]
    other += ['--cfg-options', 'train_dataloader.batch_size=1']
    with pytest.raises(SystemExit, match=r'(?s)batch_size: \d in.*1 now.*--accept-changes'):
        run_tool('train.py', seg_task.config, *arguments, *other)


def test_evaluation_prints_classes_and_draws_truth_beside_prediction(
    seg_task: TinyTask, tmp_path: Path
) -> None:
    arguments = [seg_task.config, seg_task.work_dir, '--data-root', seg_task.data]
    more = ['--work-dir', tmp_path, '--show-dir', '--report']
    metrics, printed = run_tool('test.py', *arguments, *more)
    page = (tmp_path / 'report.html').read_text()
    assert all(name in page for name in (*CLASSES, 'mean IoU', 'Confusions', '3.jpg'))
    table = (tmp_path / 'report' / 'metrics_by_class.csv').read_text().splitlines()
    ious = [float(row.split(',')[1]) for row in table[1:]]
    assert np.nanmean(ious) == pytest.approx(metrics['mIoU'], abs=0.01)
    assert {'mIoU', 'mAcc', 'aAcc'} <= set(metrics)
    log = next(tmp_path.glob('*/*.log')).read_text()
    assert 'per class results' in log
    assert all(name in log for name in CLASSES)
    image = cv2.imread(str(seg_task.data / 'images' / '0.jpg'))
    image = cv2.resize(image, None, fx=8, fy=8)  # a small one is enlarged for drawing
    drawn = cv2.imread(str(tmp_path / 'pictures' / '0.png'))
    assert drawn.shape == (22 + 512 + 22, 1280, 3)  # titles above, a legend below
    assert np.abs(drawn[22:534, :640].astype(int) - image).max() > 30

    merged, _ = run_tool('test.py', *arguments, '--work-dir', tmp_path / 'tta', '--tta')
    assert 0 <= merged['mIoU'] <= 100

    out = tmp_path / 'confusion.png'
    status, printed = run_tool('analysis/confusion_matrix.py', *arguments, '--out', out)
    assert status == 0
    assert f'mIoU {metrics["mIoU"]:.2f}' in printed
    assert cv2.imread(str(out)).std() > 0
    rows = [line.split(',') for line in out.with_suffix('.csv').read_text().splitlines()]
    assert rows[0][1:] == [row[0] for row in rows[1:]] == list(CLASSES)
    assert sum(int(cell) for row in rows[1:] for cell in row[1:]) == 4 * 64 * 80


def test_demos_draw_an_image_with_legend_and_a_video(seg_task: TinyTask, tmp_path: Path) -> None:
    model = [seg_task.config, seg_task.work_dir, '--device', 'cpu']
    out = tmp_path / 'drawn'
    status, _ = run_tool('demo/image_demo.py', seg_task.data / 'images', *model, '--out-dir', out)
    assert status == 0
    assert cv2.imread(str(out / '0.png')).shape == (512 + 22, 640, 3)

    video, drawn = tmp_path / 'in.avi', tmp_path / 'out.mp4'
    writer = cv2.VideoWriter(str(video), cv2.VideoWriter_fourcc(*'MJPG'), 5.0, (80, 64))
    for number in range(4):
        writer.write(cv2.imread(str(seg_task.data / 'images' / f'{number}.jpg')))
    writer.release()
    status, printed = run_tool('demo/video_demo.py', video, *model, '--out', drawn)
    assert status == 0
    assert '4 frames' in printed
    capture = cv2.VideoCapture(str(drawn))
    frames = [capture.read()[1] for _ in range(4)]
    assert capture.get(cv2.CAP_PROP_FPS) == pytest.approx(5.0)
    assert not capture.read()[0]
    assert all(frame.shape == (64, 80, 3) for frame in frames)
    assert sorted(path.name for path in tmp_path.glob('[!.]*')) == ['drawn', 'in.avi', 'out.mp4']


def test_analysis_tools_take_segmentation(seg_task: TinyTask, tmp_path: Path) -> None:
    run_tool('analysis/plot_logs.py', seg_task.work_dir)
    assert cv2.imread(str(seg_task.work_dir / 'curves.png')).std() > 0
    browse = ['--data-root', seg_task.data, '--num', 1, '--out-dir', tmp_path / 'browse']
    run_tool('analysis/browse_dataset.py', seg_task.config, *browse)
    assert cv2.imread(str(next((tmp_path / 'browse').iterdir()))).shape == (640 + 22, 640, 3)
    _, printed = run_tool('analysis/count_params.py', seg_task.config, '--depth', 1)
    assert 'decode_head' in printed
    options = ['--shape', 64, '--part', 'model']
    _, printed = run_tool('analysis/get_flops.py', seg_task.config, *options)
    assert 'decode_head' in printed


def test_one_output_channel_agrees_everywhere(tmp_path: Path) -> None:
    """Two classes by a sigmoid: evaluation, one idle view, the matrix, the file, the demos."""
    write_images(tmp_path / 'data', 3)
    for path in (tmp_path / 'data' / 'maps').iterdir():
        cv2.imwrite(str(path), np.minimum(cv2.imread(str(path), cv2.IMREAD_GRAYSCALE), 1))
    text = CONFIG.format(root=ROOT, classes=('ground', 'thing'))
    sigmoid = 'out_channels=1,\n        threshold=0.5,\n        loss_decode=dict(use_sigmoid=True, '
    text = text.replace('loss_decode=dict(', sigmoid).replace('num_classes=3', 'num_classes=2')
    view = '[[dict(type="RandomFlip", prob=0.0)], [test_pipeline[2]], [test_pipeline[3]]]'
    text += f'tta_pipeline = [*test_pipeline[:2], dict(type="TestTimeAug", transforms={view})]\n'
    config = tmp_path / 'one_channel.py'
    config.write_text(text.replace(', [0, 90, 200]]', ']'))
    data = ['--data-root', tmp_path / 'data']
    # At such a rate both classes are predicted.
    train = ['--work-dir', tmp_path / 'work', '--cfg-options', 'optim_wrapper.optimizer.lr=0.01']
    run_tool('train.py', config, *data, *train)
    before = (tmp_path / 'work' / 'one_channel.py').read_bytes()

    tested = [config, tmp_path / 'work', *data, '--out', tmp_path / 'x.pkl']
    plain, _ = run_tool('test.py', *tested, '--show-dir', tmp_path / 'shown')
    predictions = pickle.loads((tmp_path / 'x.pkl').read_bytes())
    alone, _ = run_tool('test.py', *tested, '--tta')
    assert alone == plain
    assert str(pickle.loads((tmp_path / 'x.pkl').read_bytes())) == str(predictions)
    maps = [sample['pred_sem_seg']['data'] for sample in predictions]
    assert {label for labels in maps for label in labels.unique().tolist()} == {0, 1}
    matrix, out = 'analysis/confusion_matrix.py', tmp_path / 'matrix.png'
    _, printed = run_tool(matrix, config, tmp_path / 'work', *data, '--out', out)
    assert f'mIoU {plain["mIoU"]:.2f}' in printed
    assert (tmp_path / 'work' / 'one_channel.py').read_bytes() == before

    model = [config, tmp_path / 'work', '--device', 'cpu']
    image = tmp_path / 'data' / 'images' / '0.jpg'
    run_tool('demo/image_demo.py', image, *model, '--out-dir', tmp_path / 'drawn')
    drawn, shown = (cv2.imread(str(tmp_path / d / '0.png')) for d in ('drawn', 'shown'))
    assert (drawn[:512] == shown[22:534, 640:]).all()  # there a title is above
    red = drawn[:512:8, :640:8, 2].astype(int) - drawn[:512:8, :640:8, 0] > 45
    assert (red == maps[0][0].numpy()).mean() > 0.9


def test_one_image_behind_a_pooled_map_is_refused_before_the_first_step(tmp_path: Path) -> None:
    """PSPNet's batch norm behind its 1 x 1 map has nothing to normalise over."""
    write_images(tmp_path / 'data', 2)
    pooled = CONFIG.format(root=ROOT, classes=CLASSES).replace("'FCNHead'", "'PSPHead'")
    config = tmp_path / 'tiny_psp.py'
    config.write_text(pooled.replace('num_convs=1', 'pool_scales=(1, 2)'))
    arguments = ['--work-dir', tmp_path / 'work', '--data-root', tmp_path / 'data']
    message = r'psp_modules\.0\.1\.bn \(BatchNorm2d\) would .*batch_size=2'
    with pytest.raises(SystemExit, match=message):
        run_tool('train.py', config, *arguments, '--cfg-options', 'train_dataloader.batch_size=1')
    assert not list((tmp_path / 'work').glob('*.pth'))


def test_predictors_of_both_toolboxes_work_side_by_side(
    seg_task: TinyTask, tiny_task: TinyTask
) -> None:
    """MMEngine's default scope is one for the whole process."""
    detector = Predictor(tiny_task.work_dir, device='cpu')
    segmentor = Predictor(seg_task.work_dir, device='cpu')
    image = cv2.imread(str(tiny_task.data / 'val' / 'val_0.jpg'))
    found = [detector(image), segmentor(image), detector(image), segmentor([image, image])[1]]
    assert np.array_equal(found[0].boxes, found[2].boxes)
    assert np.array_equal(found[1].label_map, found[3].label_map)
    assert found[1].label_map.shape == image.shape[:2]
    assert found[1].boxes is None
    assert found[0].plot().shape == found[1].plot().shape == image.shape
    entries = found[1].to_json()
    assert sum(entry['area'] for entry in entries) == image.shape[0] * image.shape[1]
    for entry in entries:
        mask = coco_mask.decode(entry['segmentation']).astype(bool)
        assert np.array_equal(mask, found[1].label_map == entry['category_id'])
