"""What a check has seen in a COCO file, and how it shows values in messages."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Iterable
from typing import Any

from .problems import Problems

SHOWN = 5


@dataclasses.dataclass
class CocoSummary:
    """What a split holds.

    Attributes:
        ann_file: the annotation file.
        num_images, num_annotations: as in the file.
        oddities: what is unusual but can be used, with the number of times it was seen.
        warnings: what a user should know before a training, as sentences.
        image_names: of the images' files, each once.
        text_categories: some category id is a text.
        images: entries of the images that can be used, but for their files.
        most_objects: that an image has to be learnt, crowds left out; stuff counts as one each.
        problems: what cannot be used.
    """

    ann_file: str
    num_images: int = 0
    num_annotations: int = 0
    oddities: Counter[str] = dataclasses.field(default_factory=Counter)
    warnings: list[str] = dataclasses.field(default_factory=list)
    image_names: list[str] = dataclasses.field(default_factory=list)
    text_categories: bool = False
    images: list[dict[str, Any]] = dataclasses.field(default_factory=list)
    most_objects: int = 0
    problems: Problems = dataclasses.field(default_factory=Problems)

    def __str__(self) -> str:
        text = f'{self.ann_file}: {self.num_images} images, {self.num_annotations} annotations'
        if not self.oddities:
            return text
        return f'{text}; tolerated: ' + ', '.join(
            f'{n} {what}' for what, n in self.oddities.items()
        )


def key_of(value: Any) -> Any:
    """An id as the files have it, number or text, and what is neither as its text."""
    return value if isinstance(value, (int, float, str, type(None))) else repr(value)


def some(values: Iterable[Any], *, shown: int = SHOWN) -> str:
    """The first values, and how many more there are."""
    values = list(values)
    text = ', '.join(repr(value) for value in values[:shown])
    return text if len(values) <= shown else f'{text} and {len(values) - shown} more'


def short(value: Any, *, length: int = 160) -> str:
    """A value's text, cut off."""
    text = repr(value)
    return text if len(text) <= length else f'{text[:length]}...'
