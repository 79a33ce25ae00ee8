"""Pictures of panoptic segmentation: a class has one colour, and every segment an outline."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from mmengine.structures import BaseDataElement

from vitadapter_dense.reports.instance_pictures import mask_array
from vitadapter_dense.reports.label_pictures import draw_label_map, full_palette, with_legend
from vitadapter_dense.reports.panoptic_metric import INSTANCE_OFFSET
from vitadapter_dense.reports.picture_style import GROUND_TRUTH, PREDICTION


def has_segments(sample: BaseDataElement, dataset_meta: Mapping[str, Any]) -> bool:
    """Whether a data sample is one of a panoptic model, or of a data set of things and stuff.

    A detector's ground truth may have a map too (HTC's), but its data set has no stuff.
    """
    truth = 'gt_sem_seg' in sample and 'gt_instances' in sample
    return 'pred_panoptic_seg' in sample or bool(truth and dataset_meta.get('stuff_classes'))


def draw_panoptic(
    image: np.ndarray,
    sample: BaseDataElement,
    dataset_meta: Mapping[str, Any],
    *,
    ground_truth: bool,
    prediction: bool,
) -> np.ndarray:
    """Draw the segments of a data sample, ground truth on the left, with a legend below.

    Args:
        image: (H, W, 3) uint8, RGB, of the maps' size.
        sample: with `gt_sem_seg` and `gt_instances`, with `pred_panoptic_seg`, or all.
        dataset_meta: `classes` and, where they have colours, `palette`.
        ground_truth: whether to draw the ground truth if it is there.
        prediction: whether to draw the prediction if it is there.

    Returns:
        (H + legend, n * W, 3) uint8, RGB; the image alone if there is nothing to draw.
    """
    classes, palette = dataset_meta['classes'], full_palette(dataset_meta)
    maps = {}
    if ground_truth and 'gt_sem_seg' in sample:
        maps[GROUND_TRUTH] = true_segments(sample)
    if prediction and 'pred_panoptic_seg' in sample:
        maps[PREDICTION] = found_segments(sample)
    if not maps:
        return image
    labels = {title: ids % INSTANCE_OFFSET for title, ids in maps.items()}
    pictures = {
        title: draw_label_map(image, labels[title], palette, segments=ids)
        for title, ids in maps.items()
    }
    return with_legend(pictures, list(labels.values()), classes, palette)


def found_segments(sample: BaseDataElement) -> np.ndarray:
    """(H, W) int64: class + 1000 * number of the instance; the number of classes is no segment."""
    return sample.pred_panoptic_seg.sem_seg.cpu().numpy()[0].astype(np.int64)


def true_segments(sample: BaseDataElement) -> np.ndarray:
    """(H, W) int64: class + 1000 * number of the instance; 255 is no segment."""
    ids = sample.gt_sem_seg.sem_seg.cpu().numpy()[0].astype(np.int64)
    masks = mask_array(sample.gt_instances.masks) if 'masks' in sample.gt_instances else ()
    for number, mask in enumerate(masks, start=1):
        ids[mask] = ids[mask] % INSTANCE_OFFSET + INSTANCE_OFFSET * number
    return ids
