"""``CachedEncoder``: the features of a frozen encoder, computed once and read from the disk.

For a data set of fixed images (no random crop, flip or scale) a frozen encoder that nothing is
injected into gives the same features in every epoch. They are found again by the content of the
image as the encoder sees it, so that no data pipeline has to know of them, and an image that is not
there goes through the encoder.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import safetensors
import torch
from mmengine.model import BaseModule
from mmengine.registry import MODELS
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from vitadapter_dense.encoders.tokens import Tokens


def image_key(image: Tensor) -> str:
    """The name of an image ``(3, H, W)``: its size and a hash of its float32 values."""
    array = image.detach().to('cpu', torch.float32).contiguous().numpy()
    digest = hashlib.blake2b(array.tobytes(), digest_size=16).hexdigest()
    return f'{array.shape[1]}x{array.shape[2]}_{digest}'


@MODELS.register_module()
class CachedEncoder(BaseModule):
    """A frozen encoder whose features after some blocks lie in a folder.

    Behaves as the encoder in it, but runs from one of these blocks to the next only, and nothing
    may change the tokens in between: ``ViTAdapter(injector=False)``.

    Args:
        encoder: config of a frozen encoder (``type='TimmViT', frozen=True``), or the encoder.
        folder: one file an image, see ``tools/dataset/cache_features.py``.
        blocks: rising numbers of the blocks after which features are kept: the last ones of the
            adapter's interactions. Default: the ends of four equal spans.
        write: keep what was computed for images that are not in the folder yet.
        dtype: of the features in the folder: ``'float16'``, ``'bfloat16'`` or ``'float32'``.

    Raises:
        ValueError: an encoder that trains, or blocks that it does not have.
    """

    def __init__(
        self,
        encoder: dict[str, Any] | nn.Module,
        folder: str | Path,
        *,
        blocks: Sequence[int] | None = None,
        write: bool = False,
        dtype: str = 'float16',
    ) -> None:
        super().__init__()
        self.encoder = MODELS.build(encoder) if isinstance(encoder, dict) else encoder
        depth = self.encoder.depth
        if blocks is None:
            blocks = [round(part * depth / 4) - 1 for part in range(1, 5)]
        self.blocks = list(blocks)
        if (
            self.blocks != sorted(set(self.blocks))
            or not 0 <= self.blocks[0] <= self.blocks[-1] < depth
        ):
            raise ValueError(f'blocks {self.blocks} must be rising numbers from 0 to {depth - 1}')
        if not self.encoder.frozen:
            raise ValueError('only features of a frozen encoder can be kept: set frozen=True in it')
        self.folder, self.write, self.dtype = Path(folder), write, getattr(torch, dtype)
        self.frozen, self.drop_path_rate = True, self.encoder.drop_path_rate
        self.embed_dim, self.depth = self.encoder.embed_dim, depth
        self.patch_size, self.num_prefix = self.encoder.patch_size, self.encoder.num_prefix
        self._features: dict[int, Tensor] = {}

    def path_of(self, image: Tensor) -> Path:
        """The file of an image ``(3, H, W)``."""
        return self.folder / f'{image_key(image)}.safetensors'

    def embed(self, images: Tensor) -> Tokens:
        """Reads or computes the features of ``images (B, 3, H, W)``; its own map is not used."""
        paths = [self.path_of(image) for image in images]
        kept = [self._read(path) for path in paths]
        missing = [index for index, features in enumerate(kept) if features is None]
        if missing:
            with torch.no_grad():
                stages = self.encoder.run_through(images[missing], self.blocks)
            for row, index in enumerate(missing):
                kept[index] = {
                    str(block): stage.x[row]
                    for block, stage in zip(self.blocks, stages, strict=True)
                }
                if self.write:
                    self._write(paths[index], kept[index])
        self._features = {
            block: torch.stack(
                [features[str(block)].to(images.device, torch.float32) for features in kept]
            )
            for block in self.blocks
        }
        height, width = images.shape[-2:]
        hw = (-(-height // self.patch_size), -(-width // self.patch_size))
        return Tokens(torch.zeros_like(self._features[self.blocks[0]]), hw, self.num_prefix)

    def run(self, tokens: Tokens, start: int = 0, stop: int | None = None) -> Tokens:
        """The features after block ``stop - 1`` of the images embedded last.

        Raises:
            ValueError: none are kept after that block.
        """
        stop = self.depth if stop is None else stop
        if stop - 1 not in self._features:
            raise ValueError(
                f'no features are kept after block {stop - 1}, only after {self.blocks}: set '
                f'blocks to the last blocks of the interactions'
            )
        return tokens.with_x(self._features[stop - 1])

    def _read(self, path: Path) -> dict[str, Tensor] | None:
        if not path.is_file():
            return None
        try:
            features = load_file(path)
        except (safetensors.SafetensorError, OSError) as error:
            raise ValueError(f'{str(path)!r} cannot be read ({error}); delete it') from error
        if not {str(block) for block in self.blocks} <= features.keys():
            raise ValueError(
                f'{str(path)!r} holds blocks {sorted(map(int, features))}, wanted are '
                f'{self.blocks}; choose another folder'
            )
        return features

    def _write(self, path: Path, features: dict[str, Tensor]) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_suffix(f'.{os.getpid()}.partial')
        tensors = {
            name: tensor.to('cpu', self.dtype).contiguous() for name, tensor in features.items()
        }
        save_file(tensors, partial)
        partial.replace(path)

    def init_weights(self) -> None:
        """Loads the encoder's pre-trained weights."""
        self.encoder.init_weights()
        self._is_init = True

    def train(self, mode: bool = True) -> CachedEncoder:
        """Stays in eval mode."""
        return super().train(False)

    def get_layer_depth(self, name: str) -> tuple[int, int]:
        """As the encoder's."""
        return self.encoder.get_layer_depth(name.removeprefix('encoder.'))
