"""Which ids of a COCO file pycocotools can evaluate.

It keeps matches by annotation id in arrays of floats that start at 0, so that id 0 counts as a miss
and a text stops it; it sorts the ids of images and of categories, which fails for a mixture. Both
show after the first epoch (cocodataset/cocoapi, PythonAPI/pycocotools/cocoeval.py, `evaluateImg`
and `evaluate`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

_LIMIT = 2**63


def find_unusable_ids(content: dict[str, Any]) -> str | None:
    """The first kind of id that an evaluation cannot use, in words with its mend.

    Args:
        content: of the file; every image, category and annotation has an `id`.
    """
    for name, key in (('image', 'images'), ('category', 'categories')):
        problem = _unusable_keys([item['id'] for item in content[key]], name)
        if problem:
            return (
                f'{problem}. Mend: number {key} from 1, in `{name}_id` of the annotations as well'
            )
    for annotation in content.get('annotations', ()):
        identity = annotation['id']
        if not _is_number(identity):
            what = 'is no number, and the evaluation ends in an error'
        elif identity == 0:
            what = 'counts as a miss in the evaluation, whatever is found'
        else:
            continue
        return f'annotation id {identity!r} {what}. Mend: number the annotations from 1'
    return None


def _unusable_keys(ids: Sequence[Any], name: str) -> str | None:
    """Ids that are sorted and looked up: all numbers, or all texts."""
    texts = [identity for identity in ids if isinstance(identity, str)]
    others = [identity for identity in ids if not isinstance(identity, str)]
    if texts and others:
        return f'{name} ids are numbers and texts, {others[0]!r} and {texts[0]!r}: no order exists'
    for identity in others:
        if not _is_number(identity):
            return f'{name} id {identity!r} is neither a number nor a text'
    if any(isinstance(identity, float) for identity in others):  # all become floats
        rounded = next((identity for identity in others if float(identity) != identity), None)
        if rounded is not None:
            return f'{name} id {rounded} is too large for a fraction, which others of them are'
    if any(text.endswith('\0') for text in texts):  # NumPy's texts end before it
        return f'{name} id {next(t for t in texts if t[-1:] == chr(0))!r} ends with a zero byte'
    return None


def _is_number(identity: Any) -> bool:
    """A number of 64 bits; NaN equals nothing, and a truth value is no id."""
    return (
        isinstance(identity, (int, float))
        and not isinstance(identity, bool)
        and -_LIMIT <= identity < _LIMIT
    )
