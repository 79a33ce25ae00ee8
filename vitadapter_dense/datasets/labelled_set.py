"""What a reader of somebody's data set found: images by split, names, problems, remarks."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from .labelled_images import LabelledImage
from .problems import Problems


@dataclasses.dataclass
class LabelledSet:
    """Images with objects, as they were read.

    Attributes:
        layout: the format's name.
        classes: names, in the order of the labels.
        images: by split: train, val, test, and `all` where nothing says which.
        label_files: that were read.
        problems: what cannot be used.
        remarks: what was done with the odd, and the files.
    """

    layout: str
    classes: tuple[str, ...]
    images: dict[str, list[LabelledImage]] = dataclasses.field(default_factory=dict)
    label_files: list[Path] = dataclasses.field(default_factory=list)
    problems: Problems = dataclasses.field(default_factory=Problems)
    remarks: dict[str, list[str]] = dataclasses.field(default_factory=dict)

    def remark(self, what: str, where: object) -> None:
        """Remember something that is no problem."""
        self.remarks.setdefault(what, []).append(str(where))

    def remark_lines(self) -> list[str]:
        """One line for each kind."""
        return [f'{what} ({len(all_)}): first {all_[0]}' for what, all_ in self.remarks.items()]
