"""Problems of a data set by their kinds: all are counted, one of each kind is shown."""

from __future__ import annotations

import dataclasses

from .errors import DatasetError


@dataclasses.dataclass
class Problems:
    """What makes files unusable; reading goes on after each.

    Attributes:
        by_kind: a few words -> the messages, each with its file and mend.
        sentences: what is wrong with a file as a whole, with its mend.
    """

    by_kind: dict[str, list[str]] = dataclasses.field(default_factory=dict)
    sentences: list[str] = dataclasses.field(default_factory=list)

    def __bool__(self) -> bool:
        return bool(self.by_kind or self.sentences)

    def add(self, kind: str, message: str) -> None:
        """Count a problem."""
        self.by_kind.setdefault(kind, []).append(message)

    def lines(self) -> list[str]:
        """One line for each kind, and for each sentence."""
        counted = [f'{len(all_)} x {kind}, first: {all_[0]}' for kind, all_ in self.by_kind.items()]
        return counted + self.sentences

    def say(self, sentence: str) -> None:
        """Note what is wrong with a whole file."""
        self.sentences.append(sentence)

    def raise_if_any(self, what: str) -> None:
        """Raise them all.

        Args:
            what: of which they are the problems, for the first line.

        Raises:
            DatasetError: when there is one.
        """
        if self:
            raise DatasetError('\n  '.join([f'{what} cannot be used as it is:', *self.lines()]))
