"""Every image gets a picture of its own, in whichever process, and none where images are read."""

from __future__ import annotations

import types
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from mmengine.structures import BaseDataElement, PixelData
from mmengine.visualization import Visualizer

from vitadapter_dense.reports import confusion_matrix, own_share, pictures
from vitadapter_dense.reports.confusion_matrix import PixelConfusionMatrix
from vitadapter_dense.reports.output_files import OutputError
from vitadapter_dense.reports.picture_files import check_picture_folder, picture_names
from vitadapter_dense.reports.pictures import PredictionPicturesHook, render_prediction

Processes = Callable[[int, int], None]


@pytest.fixture
def as_process(monkeypatch: pytest.MonkeyPatch) -> Processes:
    """Makes this process one of several, without the others."""

    def pretend(rank: int, number: int) -> None:
        for module in (own_share, pictures):
            monkeypatch.setattr(module, 'get_dist_info', lambda: (rank, number))
        monkeypatch.setattr('mmengine.dist.utils.is_main_process', lambda: rank == 0)
        monkeypatch.setattr(confusion_matrix, 'get_world_size', lambda: 1)

    return pretend


def test_names_keep_folders_and_tell_suffixes_apart() -> None:
    images = ['/d/a/1.jpg', '/d/b/1.jpg', '/d/b/1.png', '/d/b/2.jpg', '/d/b/X.jpg', '/d/b/x.jpg']
    names = [str(name) for name in picture_names(images)]
    assert names == [
        'a/1.png', 'b/1.jpg.png', 'b/1.png.png', 'b/2.png', 'b/X.jpg.png', 'b/x.jpg_1.png'
    ]  # fmt: skip
    assert [str(name) for name in picture_names(['x/1.jpg', 'x/2.jpg'])] == ['1.png', '2.png']
    hard = ['/d/1.jpg', '/d/1.tif', '/d/1.jpg.bmp', '/d/caf\u00e9.jpg', '/d/cafe\u0301.png']
    assert len({str(name).casefold() for name in picture_names(hard)}) == len(hard)
    assert picture_names([]) == []


class Images:
    """A data set of grey images, wide enough not to be enlarged for drawing."""

    ann_file = ''

    def __init__(self, folder: Path, names: list[str]) -> None:
        self.data_prefix = dict(img_path=str(folder))
        self.files = [folder / name for name in names]
        for file in self.files:
            file.parent.mkdir(parents=True, exist_ok=True)
            cv2.imwrite(str(file), np.full((4, 640, 3), 100, np.uint8))

    def __len__(self) -> int:
        return len(self.files)

    def get_data_info(self, index: int) -> dict[str, str]:
        return dict(img_path=str(self.files[index]))

    def sample(self, index: int) -> BaseDataElement:
        sample = BaseDataElement(metainfo=dict(img_path=str(self.files[index])))
        sample.pred_sem_seg = PixelData(data=torch.zeros(1, 4, 640))
        return sample


def test_pictures_of_all_processes_are_those_of_one(tmp_path: Path, as_process: Processes) -> None:
    """Dealt out in turn, the last process begins again at the first image: drawn once."""
    dataset = Images(tmp_path / 'in', ['a/1.jpg', 'b/1.jpg', 'b/1.png', 'b/2.png', 'b/3.png'])
    runner = types.SimpleNamespace(
        visualizer=types.SimpleNamespace(dataset_meta=dict(classes=('x',), palette=[[1, 2, 3]])),
        test_dataloader=types.SimpleNamespace(dataset=dataset),
    )
    for most, expected in ((None, 5), (3, 3), (9, 5), (0, 0)):
        drawn = []
        for number in (1, 2, 7):
            out, written = tmp_path / f'{most}_{number}', 0
            for rank in range(number):
                as_process(rank, number)
                hook = PredictionPicturesHook(str(out), max_pictures=most)
                hook.before_test(runner)
                for start in range(rank, max(5, number), number):
                    outputs = [dataset.sample(start % 5)]
                    hook.after_test_iter(runner, 0, outputs=outputs)
                written += hook.written
            drawn.append({str(path.relative_to(out)) for path in out.rglob('*.png')})
            assert written == expected
        assert drawn[0] == drawn[1] == drawn[2]
        assert len(drawn[0]) == expected


def test_picture_of_another_hand_stops_the_test_before_it_begins(tmp_path: Path) -> None:
    dataset = Images(tmp_path / 'in', ['1.jpg', '2.jpg'])
    runner = types.SimpleNamespace(test_dataloader=types.SimpleNamespace(dataset=dataset))
    (tmp_path / 'out').mkdir()
    (tmp_path / 'out' / '2.png').write_text('of the user')
    with pytest.raises(OutputError, match=r'2\.png'):
        PredictionPicturesHook(str(tmp_path / 'out')).before_test(runner)
    PredictionPicturesHook(str(tmp_path / 'out'), max_pictures=1).before_test(runner)


def test_pictures_do_not_go_where_images_are_listed(tmp_path: Path) -> None:
    dataset = Images(tmp_path / 'in', ['1.jpg'])
    (tmp_path / 'link').symlink_to(tmp_path / 'in')
    wrapped = types.SimpleNamespace(datasets=[dataset])
    for folder in ('in', 'in/drawn', 'link/drawn', 'other/../in'):
        with pytest.raises(OutputError, match='among them the next time'):
            check_picture_folder(tmp_path / folder, wrapped)
    check_picture_folder(tmp_path / 'inside', wrapped)
    dataset.ann_file = __file__  # the images are those that the file names
    check_picture_folder(tmp_path / 'in', wrapped)


def test_visualizer_draws_in_every_process(as_process: Processes) -> None:
    """MMEngine's draws nothing but in the first, and says nothing."""

    class Boxes(Visualizer):
        def add_datasample(self, name, image, *, data_sample, **options) -> None:
            self.set_image(image)
            self.draw_bboxes(torch.tensor([[4.0, 4.0, 20.0, 20.0]]), edge_colors='r')

    image = np.full((32, 32, 3), 100, np.uint8)
    drawn = []
    for rank in range(2):
        as_process(rank, 2)
        drawn.append(render_prediction(Boxes(), image, sample=BaseDataElement()))
    assert np.abs(drawn[0].astype(int) - image).max() > 50
    assert (drawn[0] == drawn[1]).all()


@pytest.mark.filterwarnings('ignore:Mean of empty slice')
def test_matrix_counts_no_image_twice(as_process: Processes) -> None:
    """Three images in two processes, and one image for three."""
    generator = torch.Generator().manual_seed(0)
    pairs = torch.randint(0, 2, (3, 2, 1, 4, 5), generator=generator)
    for images, number in ((3, 2), (1, 3)):
        expected = np.zeros((2, 2), int)
        for truth, found in pairs[:images].flatten(2).tolist():
            np.add.at(expected, (truth, found), 1)
        total = 0
        for rank in range(number):
            as_process(rank, number)
            metric = PixelConfusionMatrix()
            metric.dataset_meta = dict(classes=('a', 'b'))
            for start in range(rank, images + number - 1 - (images - 1) % number, number):
                truth, found = pairs[start % images]
                sample = dict(gt_sem_seg=dict(data=truth), pred_sem_seg=dict(data=found))
                metric.process({}, [sample])
            metric.evaluate(images)
            total = total + metric.matrix
        assert total.tolist() == expected.tolist()
