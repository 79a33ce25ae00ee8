"""The metrics on the terminal: none is lost, and none that says nothing is shown."""

from __future__ import annotations

import random

from vitadapter_dense.reports.metric_lines import metric_lines

KINDS = dict(bbox='boxes', segm='masks')
NAMES = dict(mAP='AP', mAP_50='AP50', mAP_75='AP75', mAP_s='small', mAP_m='medium', mAP_l='large')


def test_the_table_holds_what_was_measured() -> None:
    for seed in range(50):
        chance = random.Random(seed)
        metrics = {
            f'coco/{kind}_{name}': chance.choice([-1, round(chance.random(), 3)])
            for kind in KINDS
            for name in NAMES
        }
        header, *rows = (line.split() for line in metric_lines(metrics))
        read: dict[tuple[str, str], str] = {}
        for row in rows:
            read |= zip(((row[0], column) for column in header), row[1:], strict=True)
        for key, value in metrics.items():
            kind, _, name = key.removeprefix('coco/').partition('_')
            shown = read.pop((KINDS[kind], NAMES[name]), '-')
            assert shown == ('-' if value == -1 else f'{value:.3f}')
        assert not read


def test_others_have_a_line_each() -> None:
    lines = metric_lines({'coco/bbox_mAP': 0.5, 'aAcc': 81.25, 'coco/PQ': 3.0, 'note': 'a'})
    assert [line.split() for line in lines] == [
        ['AP'],
        ['boxes', '0.500'],
        ['aAcc', '81.2500'],
        ['coco/PQ', '3.0000'],
        ['note', 'a'],
    ]
    assert metric_lines({'coco/segm_mAP': -1}) == ['masks  no objects']
    assert metric_lines({}) == []
