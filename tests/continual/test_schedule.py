"""Groups of classes: counts, lists, draws, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from vitadapter_dense.continual import make_schedule
from vitadapter_dense.continual.errors import ScheduleError
from vitadapter_dense.continual.metrics import summarize
from vitadapter_dense.continual.results import matrix_of, results_of, summary_lines, write_results
from vitadapter_dense.continual.settings import read_settings

CLASSES = ('ground', 'a', 'b', 'c', 'd', 'e')


def test_counts_lists_and_draws_divide_the_classes() -> None:
    schedule = make_schedule('3-1', CLASSES, background='ground')
    assert schedule.groups == ((1, 2, 3), (4,), (5,))
    assert (schedule.seen(1), schedule.old(1), schedule.future(0)) == (
        (0, 1, 2, 3, 4),
        (1, 2, 3),
        (4, 5),
    )
    assert schedule.joint().groups == ((1, 2, 3, 4, 5),)
    listed = make_schedule([['e', 'ground'], [1, 2], ['d', 'c']], CLASSES)
    assert listed.named_groups == [['e', 'ground'], ['a', 'b'], ['d', 'c']]
    drawn = [make_schedule('2-2', CLASSES, order=seed).groups for seed in (1, 1, 2)]
    assert drawn[0] == drawn[1] != drawn[2]
    assert sorted(sum(drawn[2], ())) == list(range(6))


@pytest.mark.parametrize(
    ('groups', 'options', 'message'),
    [
        ('4-3', {}, r"'4-3' does not divide 6 classes: 2 of them are left over"),
        ('7-1', {}, 'there are less'),
        ('ten', {}, 'two counts'),
        ([['a', 'b'], ['b', 'c', 'd', 'e', 'ground']], {}, 'overlap: b stands in more than one'),
        ([['a'], ['b', 'c', 'ground']], {}, 'leave 2 classes out: d, e'),
        ([['a', 'f']], {}, "names 'f', which is no class"),
        ([['a'], []], {}, 'group 1 has no class'),
        ([list(CLASSES)], dict(background='ground'), 'ground is the background'),
        ([list(CLASSES)], dict(order=3), 'order=3 draws an order for counts'),
        (['a', 'bcde'], {}, 'a list of lists of names'),
        (5, {}, 'groups=5: counts are meant'),
        ('1-1', dict(order=-1), 'order=-1: it is a seed'),
    ],
)
def test_groups_that_do_not_fit_are_refused(groups: object, options: dict, message: str) -> None:
    with pytest.raises(ScheduleError, match=message):
        make_schedule(groups, CLASSES, **options)


@pytest.mark.parametrize(
    ('given', 'message'),
    [
        (dict(groups='1-1', protocol='overlapped'), "protocol='overlapped': choose of overlap"),
        (dict(groups='1-1', logit='all'), 'continual.logit is unknown; did you mean logits?'),
        (dict(order=3), 'has no groups'),
        ('1-1', r"continual='1-1': it is dict\(groups="),
        (dict(groups='1-1', later='x'), r"continual\.later='x': it is dict"),
        (dict(groups='1-1', distill=2.0), 'it is dict'),
        (dict(groups='1-1', distill=dict(weight=1.0, temperature=0)), 'temperature=0: .* above 0'),
        (dict(groups='1-1', pseudo_labels=dict(threshold=70)), 'threshold=70: .* below 1'),
        (dict(groups='1-1', joint='no'), "joint='no': it is True or False"),
        (dict(groups='1-1', logits='task', protocol='sequential'), 'hides from the loss'),
        (dict(groups='1-1', joint=True, pseudo_labels=dict(threshold=0.5)), 'no earlier task'),
    ],
)
def test_settings_that_do_not_fit_are_refused(given: dict | str, message: str) -> None:
    with pytest.raises(ScheduleError, match=message):
        read_settings(dict(continual=given))


def test_the_three_formulas_of_forgetting_differ() -> None:
    """Computed by hand. Task 0 gets better and then worse; what was not learnt yet is no matter."""
    scores = matrix_of([[70], [90, 80], [80, 60, 85]])
    expected = dict(
        average=75,
        average_over_time=(70 + 85 + 75) / 3,
        when_learnt=(70 + 80 + 85) / 3,
        forgetting_from_best=(90 - 80 + 80 - 60) / 2,
        forgetting_by_step=((70 - 90) + (90 - 80 + 80 - 60) / 2) / 2,
        forgetting_from_first=(70 - 80 + 80 - 60) / 2,
        backward_transfer=(80 - 70 + 60 - 80) / 2,
    )
    assert summarize(scores) == pytest.approx(expected)
    assert [expected[f'forgetting_{name}'] for name in ('from_best', 'by_step', 'from_first')] == [
        15,
        -2.5,
        5,
    ]
    one = summarize(matrix_of([[50]]))
    assert one['average'] == 50
    assert np.isnan(one['forgetting_from_best'])


def test_results_of_several_seeds_are_means_with_their_range(tmp_path: Path) -> None:
    groups = dict(base=60.0, old=60.0, new=float('nan'), all=70.0)
    results = [
        results_of([dict(row=[70.0], groups=groups), dict(row=row, groups=groups)], joint=False)
        for row in ([50.0, 80.0], [60.0, 90.0])
    ]
    facts = dict(metric='accuracy', groups=[['a'], ['b']], seeds=[0, 1])
    write_results(tmp_path, results, facts)
    written = json.loads((tmp_path / 'results.json').read_text())
    assert written['matrix'] == [[70, None], [55, 85]]
    assert written['seeds'] == [0, 1]
    assert written['matrices'][1] == [[70, None], [60, 90]]
    assert written['summary']['forgetting_from_best'] == dict(mean=15, least=10, most=20)
    assert (tmp_path / 'matrix.csv').read_text().splitlines() == [
        'after task,task 0,task 1',
        '0,70.0,',
        '1,55.0,85.0',
    ]
    joint = results_of([dict(row=[50.0, 80.0], groups=groups)], joint=True)
    assert joint['summary'] == dict(average=65)
    lines = summary_lines(results)
    assert '15.00  (10.00 to 20.00)' in '\n'.join(lines)
    assert lines[-1].endswith('base 60.00, old 60.00, all 70.00')
