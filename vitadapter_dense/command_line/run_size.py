"""How large a run on somebody's data should be: model, image size, batch, rate, length.

Starting points, not optima: the original's settings, scaled to the images and the machine. What is
not the original's stands here as a number with its reason.
"""

from __future__ import annotations

import dataclasses
import math
import statistics
from collections.abc import Sequence

from vitadapter_dense.command_line.machine import Machine

_STEP = 32  # every map of a backbone fits sides of this multiple
#: GB of a GPU that an image of 1333 x 800 (detection), or a crop of 512 (segmentation), takes in
#: training; not measured but generous, for a first run that fits counts more than its speed.
_GB_AN_IMAGE = dict(t=(4.0, 1.5), s=(6.0, 2.5))
_GB_A_CLASSIFIED_IMAGE = dict(t=0.1, s=0.2)  # of 224 x 224, on a plain ViT
_LARGE_GPU = 8.0  # GB, from which the model is S
#: Images that are seen in a training, at least and for each one of the set: COCO's 1x schedule
#: has 12 epochs, and sets of hundreds of images need more of them. On a CPU an image takes seconds.
_SEEN = dict(detection=dict(gpu=20_000, cpu=3_000), segmentation=dict(gpu=40_000, cpu=4_000))
_SEEN |= dict(classification=dict(gpu=100_000, cpu=10_000))
_EPOCHS = dict(gpu=(12, 300), cpu=(6, 100))
_MAX_ITERATIONS = 160_000  # the original's on ADE20K
_ORIGINAL_BATCH = 16
_RATES = dict(detection=dict(t=1e-4, s=1e-4), segmentation=dict(t=1.2e-4, s=6e-5))
_RATES |= dict(classification=dict(t=6e-5, s=6e-5))  # with the root to 64: VPT's for full tuning


@dataclasses.dataclass(frozen=True)
class RunSize:
    """What a config says of a run's size.

    Attributes:
        model: t or s.
        side: shorter side of an image, or side of a crop.
        batch, workers: of a loader.
        rate: of the optimiser, for this batch; it grows with the root of that, as for Adam.
        rate_of_16: the original's.
        epochs, iterations: of the run.
        interval: epochs (detection) or iterations between two evaluations.
        warmup: iterations.
    """

    model: str
    side: int
    batch: int
    workers: int
    rate: float
    rate_of_16: float
    epochs: int
    iterations: int
    interval: int
    warmup: int


def fit_run(
    task: str, *, images: int, sizes: Sequence[tuple[int, int]], machine: Machine
) -> RunSize:
    """Choose a run for a data set and a machine.

    Args:
        task: detection, instance, segmentation or classification.
        images: of training.
        sizes: of some of them.
        machine: that computes.
    """
    segmentation, classification = task == 'segmentation', task == 'classification'
    kind = task if segmentation or classification else 'detection'
    place = 'gpu' if machine.gpu else 'cpu'
    model = 's' if machine.gpu and machine.memory_gb >= _LARGE_GPU else 't'
    shorter = statistics.median(min(size) for size in sizes) if sizes else 512
    if classification:
        side, area = 224, 1.0  # what the encoders were trained at
    elif segmentation:
        side = _clip(shorter, 128, 512 if machine.gpu else 384)
        area = (side / 512) ** 2
    else:  # small images are enlarged: anchors begin at 32 pixels
        side = _clip(shorter, 320, 800 if machine.gpu else 480)
        area = (side / 800) ** 2
    least = 2 if segmentation else 1  # UperNet normalises maps of one pixel over the batch
    gb = _GB_A_CLASSIFIED_IMAGE[model] if classification else _GB_AN_IMAGE[model][segmentation]
    most = _ORIGINAL_BATCH if machine.gpu else 2
    most = (64 if machine.gpu else 16) if classification else most
    batch = max(least, min(int(0.8 * machine.memory_gb / (gb * area)), most, max(images, least)))
    low, high = _EPOCHS[place]
    epochs = max(low, min(high, math.ceil(_SEEN[kind][place] / images)))
    iterations = min(epochs * math.ceil(images / batch), _MAX_ITERATIONS)
    iterations = max(iterations, 100) if segmentation else iterations
    return RunSize(
        model=model,
        side=side,
        batch=batch,
        workers=max(1, min(4, machine.cores - 1)),
        rate_of_16=_RATES[kind][model],
        rate=float(f'{_RATES[kind][model] * math.sqrt(batch / _ORIGINAL_BATCH):.1e}'),
        epochs=epochs,
        iterations=iterations,
        interval=max(1, (iterations if segmentation else epochs) // 10),
        warmup=max(2, min(500, iterations // 10)),
    )


def _clip(side: float, lowest: int, highest: int) -> int:
    return int(min(max(round(side / _STEP) * _STEP, lowest), highest))
