"""The loss equals torch's and MMSegmentation's, and gives one where MMSegmentation's does not."""

from __future__ import annotations

import itertools

import pytest
import torch
from torch.nn import functional as F

from vitadapter_dense.heads import PixelCrossEntropyLoss

CLASSES, WEIGHTS = 3, [0.25, 1.0, 2.0]


def pixels(outputs=CLASSES, ignored=255):
    scores = torch.randn(2, outputs, 6, 7, requires_grad=True)
    labels = torch.randint(0, max(2, outputs), (2, 6, 7))
    labels[:, :2] = ignored
    return scores, labels


def test_mean_is_torchs_with_class_weights_and_ignored_labels():
    scores, labels = pixels()
    for weights in (None, WEIGHTS):
        own = PixelCrossEntropyLoss(class_weight=weights, avg_non_ignore=True, loss_weight=0.4)
        tensor = None if weights is None else torch.tensor(weights)
        expected = 0.4 * F.cross_entropy(scores, labels, weight=tensor, ignore_index=255)
        torch.testing.assert_close(own(scores, labels), expected)


def test_sigmoid_is_written_out_pixel_by_pixel():
    for outputs, weights in ((CLASSES, WEIGHTS), (1, [3.0]), (CLASSES, None)):
        scores, labels = pixels(outputs)
        expected = []
        for image, row, column in itertools.product(*map(range, labels.shape)):
            label = int(labels[image, row, column])
            for output in range(outputs) if label != 255 else ():
                score = scores[image, output, row, column]
                positive = label == (output if outputs > 1 else 1)
                weight = weights[output] if weights and positive else 1.0
                expected.append(-weight * F.logsigmoid(score if positive else -score))
        own = PixelCrossEntropyLoss(True, class_weight=weights, avg_non_ignore=True)
        torch.testing.assert_close(own(scores, labels), torch.stack(expected).mean())


@pytest.mark.parametrize('use_sigmoid', [False, True])
@pytest.mark.parametrize('weights', [None, WEIGHTS])
def test_ignored_pixels_have_no_gradient_and_a_batch_of_them_no_loss(use_sigmoid, weights):
    for avg, ignored in ((True, 255), (False, 254), (True, -1)):
        own = PixelCrossEntropyLoss(use_sigmoid, class_weight=weights, avg_non_ignore=avg)
        scores, labels = pixels(ignored=ignored)
        own(scores, labels, ignore_index=ignored).backward()
        assert not scores.grad[:, :, :2].any()
        assert scores.grad[:, :, 2:].all()
        scores.grad = None
        loss = own(scores, torch.full_like(labels, ignored), ignore_index=ignored)
        loss.backward()
        assert loss == 0
        assert not scores.grad.any()


def test_half_precision_sums_do_not_overflow():
    """A crop of 512 x 512 has four times as many pixels as float16 has numbers."""
    scores = torch.zeros(1, 2, 512, 512, dtype=torch.float16)
    labels = torch.zeros(1, 512, 512, dtype=torch.long)
    for use_sigmoid in (False, True):
        own = PixelCrossEntropyLoss(use_sigmoid, class_weight=[1.0, 1.0])
        torch.testing.assert_close(own(scores, labels), torch.tensor(2.0).log())


def test_a_wrong_setting_or_label_is_named():
    with pytest.raises(ValueError, match="reduction='average'"):
        PixelCrossEntropyLoss(reduction='average')
    with pytest.raises(ValueError, match=r"class_weight='w\.npy'"):
        PixelCrossEntropyLoss(class_weight='w.npy')
    scores, labels = pixels(1)
    with pytest.raises(ValueError, match='label 2 for one output'):
        PixelCrossEntropyLoss(True)(scores, labels.clamp(min=2))


OPTIONS = {
    'class_weight': (None, WEIGHTS),
    'avg_non_ignore': (False, True),
    'use_sigmoid': (False, True),
    'reduction': ('mean', 'sum'),
}


def test_equals_mmsegmentations_wherever_that_gives_a_loss():
    pytest.importorskip('mmcv.ops', reason='needs mmcv')
    from mmseg.models.losses import CrossEntropyLoss

    broken = set()
    for values in itertools.product(*OPTIONS.values(), (None, torch.rand(2, 6, 7)), (1, CLASSES)):
        options, (weight, outputs) = dict(zip(OPTIONS, values)), values[-2:]
        if outputs == 1 and (options['class_weight'] or not options['use_sigmoid']):
            continue
        scores, labels = pixels(outputs)
        own = PixelCrossEntropyLoss(**options)(scores, labels, weight)
        try:
            theirs = CrossEntropyLoss(**options)(scores, labels, weight, ignore_index=255)
        except (IndexError, RuntimeError):
            broken.add((options['use_sigmoid'], options['avg_non_ignore']))
            assert options['class_weight']
            assert own.isfinite()
            continue
        torch.testing.assert_close(own, theirs)
    assert broken == {(False, True), (True, False), (True, True)}
