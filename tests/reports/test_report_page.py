"""A report: its page, its tables, and which images are the best and the worst."""

from __future__ import annotations

import csv
import io
import re
from html.parser import HTMLParser
from pathlib import Path

import cv2
import numpy as np
import pytest
from matplotlib.figure import Figure

from vitadapter_dense.reports.class_table import detection_table, segmentation_table
from vitadapter_dense.reports.coco_classes import ClassPrecisions
from vitadapter_dense.reports.confusion_plot import confusion_figure
from vitadapter_dense.reports.extremes import Extremes, ScoredImage
from vitadapter_dense.reports.report_page import ReportPage

NASTY = '<b>&"x" {{ 7*7 }}\'<script>alert(1)</script> $x$'
JPEG = cv2.imencode('.jpg', np.zeros((8, 8, 3), np.uint8))[1].tobytes()


class Reader(HTMLParser):
    """Collects texts, and every tag with its attributes."""

    def __init__(self) -> None:
        super().__init__()
        self.texts: list[str] = []
        self.tags: list[tuple[str, dict]] = []

    def handle_starttag(self, tag: str, attrs: list) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


def page_of(classes: list[str], **more: object) -> ReportPage:
    number = len(classes)
    matrix = np.arange(number * number).reshape(number, number)
    image = ScoredImage(f'/data/{NASTY}.jpg', 0.25, 1, 2, NASTY, JPEG)
    return ReportPage(
        NASTY,
        dict(configuration=NASTY),
        metrics={NASTY: 0.5, 'mIoU': 41.25, 'coco/bbox_mAP_l': -1.0},
        curves=Figure(),
        table=segmentation_table(matrix, classes),
        matrix=confusion_figure(matrix, classes, unit='pixels'),
        confusions=[(classes[0], classes[-1], 3, 0.5)],
        worst=[image],
        config_text=NASTY,
        **more,
    )


@pytest.mark.parametrize('number', [2, 150])
def test_page_holds_everything_and_asks_for_nothing(number: int) -> None:
    """Names are text, however they look; images are in the page; there is no script."""
    classes = [NASTY, *(f'class {n}' for n in range(1, number))]
    html = page_of(classes).html()
    reader = Reader()
    reader.feed(html)
    assert not {tag for tag, _ in reader.tags} & {'script', 'link', 'iframe', 'object'}
    assert sum(tag == 'b' for tag, _ in reader.tags) == 2  # a headline and a score
    assert reader.texts.count(NASTY) >= 6
    sources = [attrs['src'] for tag, attrs in reader.tags if tag == 'img']
    assert len(sources) == 3
    assert all(source.startswith('data:image/') for source in sources)
    assert not re.search(r'(?:src|href|url)\s*[=(]\s*["\']?(?!data:)[\w/]+[:/]', html)
    assert not any(name.startswith('on') for _, attrs in reader.tags for name in attrs)
    (policy,) = (a['content'] for t, a in reader.tags if t == 'meta' and 'http-equiv' in a)
    assert policy.startswith("default-src 'none'")
    assert len(html) < 1_500_000


def test_page_of_a_run_that_has_almost_nothing() -> None:
    html = ReportPage('one', dict(configuration='one.py')).html()
    assert 'no log of a training' in html
    assert 'no data to test on' in html
    assert '<img' not in html


def offered(extremes: Extremes, scores: list[float]) -> list[str]:
    drawn = []
    for number, score in enumerate(scores):

        def draw(name: str = str(number)) -> bytes:
            drawn.append(name)
            return name.encode()

        extremes.offer(str(number), score, right=number, wrong=-number, detail='', draw=draw)
    return drawn


def test_best_and_worst_are_those_of_a_sort_and_few_are_drawn() -> None:
    scores = np.random.default_rng(0).permutation(1000) / 1000
    extremes = Extremes(4)
    drawn = offered(extremes, scores.tolist())
    best, worst = extremes.gather()
    assert [int(image.path) for image in best] == np.argsort(-scores)[:4].tolist()
    assert [int(image.path) for image in worst] == np.argsort(scores)[:4].tolist()
    assert all(image.picture == image.path.encode() for image in (*best, *worst))
    assert len(drawn) < 80


@pytest.mark.parametrize(
    ('scores', 'best', 'worst'),
    [
        ([], '', ''),
        ([0.5], '0', ''),
        ([0.1, float('nan'), 0.9], '2', '0'),
        ([0.5, 0.5, 0.5], '21', '0'),
    ],
)
def test_no_image_is_among_both(scores: list[float], best: str, worst: str) -> None:
    extremes = Extremes(6)
    offered(extremes, scores)
    shown = [''.join(image.path for image in images) for images in extremes.gather()]
    assert shown == [best, worst]


def test_precisions_by_class_are_those_whose_mean_is_the_metric() -> None:
    """Listened to in MMDetection's own metric, which is left as it was."""
    pytest.importorskip('mmdet')
    import torch
    from mmdet.evaluation import CocoMetric
    from pycocotools.cocoeval import COCOeval

    generator = np.random.default_rng(0)
    metric = CocoMetric(metric=['bbox'])
    names = ('a', 'b', 'absent')
    metric.dataset_meta = dict(classes=names)
    for number in range(20):
        low = generator.uniform(0, 50, (4, 2))
        boxes = np.concatenate([low, low + generator.uniform(10, 40, (4, 2))], 1)
        labels = generator.integers(0, 2, 4)
        instances = [
            dict(bbox=box.tolist(), bbox_label=int(n), ignore_flag=0)
            for box, n in zip(boxes, labels)
        ]
        found = dict(
            bboxes=torch.tensor(boxes + generator.normal(0, 2, boxes.shape)),
            labels=torch.tensor(labels),
            scores=torch.tensor(generator.random(4)),
        )
        sample = dict(pred_instances=found, img_id=number, ori_shape=(100, 100))
        metric.process({}, [dict(sample, instances=instances)])
    before = COCOeval.accumulate
    heard = ClassPrecisions()
    heard.listen([metric])
    whole = metric.evaluate(20)
    assert COCOeval.accumulate is before
    assert heard.classes == names
    assert np.isnan(heard.values['box AP'][2])
    for name, key in (('box AP', 'mAP'), ('box AP50', 'mAP_50'), ('box AP75', 'mAP_75')):
        mean = np.nanmean(heard.values[name])
        assert mean == pytest.approx(whole[f'coco/bbox_{key}'], abs=6e-4)
        assert 0.02 < mean <= 1


def test_table_is_the_same_on_the_console_in_the_file_and_as_bars(tmp_path: Path) -> None:
    matrix = np.array([[6, 2, 2], [0, 0, 0], [4, 0, 0]])
    table = detection_table(matrix, ['cat', NASTY], {'box AP': [0.5, float('nan')]})
    assert table.rows() == [
        ('cat', ['0.500', '0.600', '0.600', '10']),
        (NASTY, ['-', '0.000', '-', '0']),
    ]
    lines = table.text(5)
    assert len(lines) == 3
    assert lines[1].split() == ['cat', '0.500', '0.600', '0.600', '10']
    assert [line.split()[0] for line in table.text(1)] == ['class', 'cat', 'and']
    table.write_csv(tmp_path / 'x.csv', command='test')
    rows = list(csv.reader(io.StringIO((tmp_path / 'x.csv').read_text())))
    assert [row[0] for row in rows] == ['class', 'cat', NASTY]
    assert float(rows[1][1]) == 0.5
    table.write_bars(tmp_path / 'x.png', command='test')
    picture = cv2.imread(str(tmp_path / 'x.png')).astype(int)
    assert ((picture[..., 0] - picture[..., 2]) > 60).any()  # a blue bar
