"""Whether what the evaluation's loaders put into one batch can be evaluated as one batch.

MMSegmentation asserts at the first batch, after the training before it, that all images of a batch
have one size, and shifts every label where the pipeline pads an image. (MMDetection pads batches
itself, and takes the padding off again.)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from mmengine.registry import DATASETS

from .check_image_files import read_file_header

#: pairs of different sizes that go through the pipeline
_TRIED = 12
#: images whose headers are read
_HEADERS = 2000


def find_batch_problems(
    cfg: Mapping[str, Any], datasets: Mapping[str, Sequence[Mapping[str, Any]]]
) -> list[str]:
    """What of a segmentor's loaders for evaluation would end it or spoil it, in words.

    Args:
        cfg: a whole config.
        datasets: the plain data sets of each loader to look at, by `val` and `test`.

    Returns:
        a message with its mend for each; none for other models than segmentors.
    """
    preprocessor = (cfg.get('model') or {}).get('data_preprocessor') or cfg.get('data_preprocessor')
    if str((preprocessor or {}).get('type')).split('.')[-1] != 'SegDataPreProcessor':
        return []
    found = []
    for split, leaves in datasets.items():
        name = f'{split}_dataloader'
        pads = any(_pads(leaf.get('pipeline')) for leaf in leaves)
        if pads:
            found.append(
                f'{name}: its pipeline pads images, and MMSegmentation stretches what it predicts '
                'for the padding over the image with the rest. Mend: take Pad out, and pad in the '
                'model: data_preprocessor=dict(test_cfg=dict(size_divisor=32)).'
            )
        number = (cfg.get(name) or {}).get('batch_size') or 1
        if number > 1 and not pads:
            found += _mixed(name, number, leaves)
    return found


def _mixed(name: str, number: int, leaves: Sequence[Mapping[str, Any]]) -> list[str]:
    """The message for batches of several sizes, which shows two of the images."""
    first: tuple[str, tuple] | None = None
    for leaf in leaves:
        with DATASETS.switch_scope_and_registry('mmseg') as registry:
            dataset = registry.build(dict(leaf, test_mode=True, serialize_data=False))
        for index in _of_different_sizes(dataset):
            file, sizes = dataset.get_data_info(index)['img_path'], _sizes(dataset[index])
            if first is None:
                first = file, sizes
            elif sizes != first[1]:
                return [
                    f'{name}.batch_size is {number}, but its pipeline gives images of several '
                    f'sizes ({first[0]}: {_shown(first[1])}, {file}: {_shown(sizes)}), and '
                    f'MMSegmentation evaluates batches of one size alone. Mend: {name}.'
                    'batch_size=1.'
                ]
    return []


def _of_different_sizes(dataset: Any) -> list[int]:
    """Numbers of some images, no two of one size."""
    step, seen = max(1, -(-len(dataset) // _HEADERS)), {}
    for index in range(0, len(dataset), step):
        header = read_file_header(dataset.get_data_info(index)['img_path'])
        seen.setdefault(header.shown if header else None, index)
    return list(seen.values())[:_TRIED]


def _sizes(results: Mapping[str, Any]) -> tuple:
    """Height and width of an image, or of each of its views."""
    inputs = results['inputs']
    views = inputs if isinstance(inputs, (list, tuple)) else [inputs]
    return tuple(tuple(view.shape[-2:]) for view in views)


def _shown(sizes: tuple) -> str:
    return ' and '.join(f'{width} x {height}' for height, width in sizes[:2])


def _pads(steps: Any) -> bool:
    """Whether a pipeline pads, in any branch of it."""
    if isinstance(steps, Mapping):
        kind = str(steps.get('type')).split('.')[-1]
        return kind == 'Pad' or any(_pads(value) for value in steps.values())
    return isinstance(steps, (list, tuple)) and any(map(_pads, steps))
