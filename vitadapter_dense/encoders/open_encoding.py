"""``OpenEncoding``: tokens whose last blocks a head runs itself, with tokens of its own."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from vitadapter_dense.encoders.tokens import Tokens


class RunsBlocks(Protocol):
    """What runs blocks ``start`` to ``stop`` (exclusive): an encoder's method ``run``."""

    def __call__(self, tokens: Tokens, start: int, stop: int) -> Tokens: ...


@dataclass(frozen=True)
class OpenEncoding:
    """What an encoder made of images up to its last blocks.

    Attributes:
        tokens: in front of the first block that is open.
        first: its number.
        open_blocks: how many there are.
        run_blocks: of the encoder, which keeps their parameters.
    """

    tokens: Tokens
    first: int
    open_blocks: int
    run_blocks: RunsBlocks

    def run(self, tokens: Tokens, index: int) -> Tokens:
        """Runs the open block ``index``, from 0 on."""
        return self.run_blocks(tokens, self.first + index, self.first + index + 1)

    def finish(self) -> Tokens:
        """Runs the open blocks without a head's tokens."""
        return self.run_blocks(self.tokens, self.first, self.first + self.open_blocks)
