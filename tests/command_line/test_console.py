"""What is left out of the terminal, and that nothing else is."""

from __future__ import annotations

import logging
import sys

import pytest
from mmengine.logging import MMLogger

from vitadapter_dense.command_line.console import TerminalFilter, quiet, quiet_imports


def record(message: str, level: int = logging.INFO) -> logging.LogRecord:
    return logging.LogRecord('mmengine', level, __file__, 1, message, None, None)


@pytest.mark.parametrize(
    'message',
    [
        'Config:\nmodel = dict()',
        'paramwise_options -- neck.bias:weight_decay=0.0',
        'neck.bias is skipped since its requires_grad=False',
        'Hooks will be executed in the following order:\nbefore_run:',
        '\n------------\nSystem environment:\n    sys.platform: linux',
        '"FileClient" will be deprecated in future. Please use io functions',
        'bbox_mAP_copypaste: 0.1 0.2',
        'Evaluating bbox...',
        'Epoch(test) [1/1]    accuracy/top1: 30.0',
        'per class results:',
        'a/b.json: 3 images, 9 annotations',
    ],
)
def test_settings_are_for_the_file(message):
    assert not TerminalFilter().filter(record(message))


@pytest.mark.parametrize(
    ('message', 'level'),
    [
        ('loaded x.pth: matched 3', logging.INFO),
        ('a setting in Config:\n is odd', logging.WARNING),
        ('Iter(train) [50/100] loss: nan', logging.WARNING),
        ('anything', logging.ERROR),
        ('a.json: 3 images, 9 annotations; tolerated: 2 crowd regions', logging.INFO),
    ],
)
def test_all_else_is_shown(message, level):
    terminal = TerminalFilter()
    assert all(terminal.filter(record(message, level)) for _ in range(3))


def test_progress_is_shown_once_in_a_while_and_results_always():
    now = [0.0]
    terminal = TerminalFilter(progress_s=30, clock=lambda: now[0])
    shown = []
    for second in range(0, 100, 10):
        now[0] = second
        if terminal.filter(record(f'Iter(train) [{second}/100]  loss: 1.0')):
            shown.append(second)
    assert shown == [0, 30, 60, 90]
    now[0] = 1000
    assert terminal.filter(record('Iter(train) [100/9999]  loss: 1.0'))
    for passed, is_shown in ((100, False), (310, True), (400, False), (900, True)):
        now[0] = 1000 + passed
        assert terminal.filter(record('Iter(train) [200/9999]  loss: 1.0')) == is_shown
    result = record('Iter(val) [75/75]    coco/bbox_mAP: 0.4  data_time: 0.1')
    assert terminal.filter(result)
    assert terminal.filter(result)
    assert not terminal.filter(record('Iter(val) [50/75]    eta: 0:00:07  time: 0.2'))
    assert terminal.filter(record('Epoch(val) [3][4/4]    accuracy/top1: 30.0'))
    assert not terminal.filter(record('Epoch(val) [3][3/4]    eta: 0:00:07  time: 0.2'))


def test_the_table_of_the_classes_is_shown_by_a_test_where_it_is_short():
    def table(classes):
        return record('\n+---+---+\n' + '|  a  | 0 |\n' * classes + '+---+---+')

    terminal = TerminalFilter()
    assert terminal.filter(table(6))
    assert not terminal.filter(table(150))
    terminal.filter(record('Iter(train) [1/9]  loss: 1.0'))
    assert not terminal.filter(table(6))


def test_the_file_has_what_the_terminal_lacks(tmp_path, capsys, monkeypatch):
    coco, cocoeval = (
        pytest.importorskip('pycocotools.coco'),
        pytest.importorskip('pycocotools.cocoeval'),
    )
    for module in (coco, cocoeval):
        monkeypatch.setattr(module, 'print', print, raising=False)
    logger = MMLogger('quiet', log_file=str(tmp_path / 'log.txt'))
    quiet(logger)
    logger.info('Config:\nx = 1')
    logger.info('told')
    progress = (
        'Iter(val) [75/75]    coco/bbox_mAP: 0.4  coco/bbox_mAP_s: 0.3  data_time: 0.1  time: 0.2'
    )
    logger.info(progress)
    coco.COCO().dataset = {}
    coco.print('creating index...')
    for handler in logger.handlers:
        handler.flush()
    said = ''.join(capsys.readouterr())
    assert 'told' in said
    assert [line for line in said.splitlines() if 'coco/bbox_mAP: 0.4' in line and '0.2' in line]
    assert 'mAP_s' not in said
    assert 'data_time' not in said
    assert 'x = 1' not in said
    assert 'creating index' not in said
    written = (tmp_path / 'log.txt').read_text()
    assert all(word in written for word in ('x = 1', 'told', progress, 'creating index...'))


def test_other_prints_of_mmengine_stay(capsys, monkeypatch):
    module = sys.modules['mmengine.logging.logger']
    readers = [pytest.importorskip(f'pycocotools.{name}') for name in ('coco', 'cocoeval')]
    for each in (module, *readers):
        monkeypatch.setattr(each, 'print', print, raising=False)
    quiet_imports()
    module.print_log('Could not import OneDL. Skipping OneDL datasets.')
    module.print_log('a message')
    assert capsys.readouterr().out == 'a message\n'
