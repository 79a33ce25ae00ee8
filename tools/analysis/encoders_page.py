"""Writes docs/encoders.md: what is known and what is measured of every encoder that is configured.

    python tools/analysis/encoders_page.py docs/encoders.md

Parameters and operations are counted on the meta device; licences are what timm records of the
weights.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

# A checkout that is not installed works too; an installed package goes first.
sys.path.append(str(Path(__file__).resolve().parents[2]))
sys.path.append(str(Path(__file__).resolve().parents[2] / 'ops'))

import timm
import torch
from torch.utils.flop_counter import FlopCounterMode

from vitadapter_dense.encoders import TimmViT

# timm's name, pre-training, suffix of the configs
ENCODERS = (
    ('deit_tiny_patch16_224.fb_in1k', 'DeiT, ImageNet-1k', ''),
    ('deit_small_patch16_224.fb_in1k', 'DeiT, ImageNet-1k', ''),
    ('deit_base_patch16_224.fb_in1k', 'DeiT, ImageNet-1k', ''),
    ('deit3_base_patch16_384.fb_in22k_ft_in1k', 'DeiT-III, ImageNet-22k', ''),
    ('vit_small_patch16_384.augreg_in21k_ft_in1k', 'AugReg, ImageNet-21k', 'augreg'),
    ('vit_base_patch16_384.augreg_in21k_ft_in1k', 'AugReg, ImageNet-21k', 'augreg'),
    ('vit_large_patch16_384.augreg_in21k_ft_in1k', 'AugReg, ImageNet-21k', ''),
    ('vit_base_patch16_224.mae', 'MAE, ImageNet-1k', 'mae'),
    ('vit_large_patch16_224.mae', 'MAE, ImageNet-1k', 'mae'),
    ('vit_base_patch16_clip_224.openai', 'CLIP', ''),
    ('vit_base_patch16_siglip_512.v2_webli', 'SigLIP 2', ''),
    ('vit_small_patch16_224.dino', 'DINO, ImageNet-1k', ''),
    ('vit_small_patch14_dinov2.lvd142m', 'DINOv2', 'dinov2'),
    ('vit_base_patch14_dinov2.lvd142m', 'DINOv2', 'dinov2'),
    ('vit_large_patch14_dinov2.lvd142m', 'DINOv2', 'dinov2'),
    ('vit_giant_patch14_dinov2.lvd142m', 'DINOv2', ''),
    ('vit_base_patch14_reg4_dinov2.lvd142m', 'DINOv2, registers', ''),
    ('beit_base_patch16_224.in22k_ft_in22k', 'BEiT, ImageNet-22k', ''),
    ('beit_large_patch16_224.in22k_ft_in22k', 'BEiT, ImageNet-22k', 'beit'),
    ('beitv2_base_patch16_224.in1k_ft_in22k', 'BEiT v2, ImageNet-1k and 22k', 'beitv2'),
    ('beitv2_large_patch16_224.in1k_ft_in22k', 'BEiT v2, ImageNet-1k and 22k', 'beitv2'),
    ('eva02_small_patch14_336.mim_in22k_ft_in1k', 'EVA-02, ImageNet-22k', 'eva02'),
    ('eva02_base_patch14_448.mim_in22k_ft_in22k_in1k', 'EVA-02, ImageNet-22k', 'eva02'),
    ('eva02_large_patch14_448.mim_m38m_ft_in22k_in1k', 'EVA-02, Merged-38M', 'eva02'),
    ('vit_small_patch16_dinov3.lvd1689m', 'DINOv3', 'dinov3'),
    ('vit_base_patch16_dinov3.lvd1689m', 'DINOv3', 'dinov3'),
    ('vit_large_patch16_dinov3.lvd1689m', 'DINOv3', 'dinov3'),
    ('vit_7b_patch16_dinov3.lvd1689m', 'DINOv3', ''),
)
HEAD = """# Encoders

This page is written by `python tools/analysis/encoders_page.py docs/encoders.md`.

Any plain ViT of timm (`VisionTransformer`, `Beit`, `Eva`) is an encoder by its name:
`encoder=dict(type='TimmViT', model_name='vit_small_patch14_dinov2.lvd142m', pretrained=True)`. The
table has those that configs name, and one or two of every other kind of pre-training. The licence
is that of the weights, as timm records it; where it says nothing, ask the authors. Parameters:
what dense prediction uses, without head, final norm and CLS token. GFLOPs: one multiply-add is
two; patches and blocks of one image of 512 x 512, global attention.

Four things are tested for every family at toy size (`tests/encoders`, `tests/backbones`):
attention in **windows** (equal to global attention where the window is the whole map), **any
size** of image (odd and oblong ones too), **frozen** (no gradient, the same numbers) and
**compile** (`torch.compile`, one graph, the same numbers; slow tests).

| encoder | pre-training | licence | patch | params | GFLOPs at 512 | tested | configs |
|---|---|---|---|---|---|---|---|
"""
TAIL = """
## Weights from a file

`pretrained='FILE'` takes what the authors released: Google's `.npz` (AugReg), MAE, MoCo v3, DINO,
DINOv2 and BEiT `.pth`, timm's `.safetensors`. Files are read as tensors and plain containers,
never run. `tools/convert/official_checkpoint.py` writes the converted weights down and reports
every key; with `--patch-size 16` it resamples DINOv2's patches as the original ViT-Adapter did.
BEiT's tables of relative positions are resampled to the windows or the image while they are
loaded.

## Frozen encoders

`frozen=True` trains the adapter alone. With `injector=False` in the adapter nothing is injected
either: the encoder then runs without gradients, and in bfloat16 under autocast (configs
`*_frozen.py`). For a data set of fixed images its features may be kept on the disk:
`tools/dataset/cache_features.py`.
"""


def gflops(encoder: TimmViT, side: int) -> float:
    """Operations of one square image, in 1e9, without rotary positions (no matrix product)."""
    encoder.rope = None
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        encoder.run(encoder.embed(torch.empty(1, 3, side, side, device='meta')))
    return counter.get_total_flops() / 1e9


def row(name: str, pre_training: str, suffix: str) -> str:
    """The table's line of one encoder."""
    with torch.device('meta'):
        encoder = TimmViT(name)
    millions = sum(parameter.numel() for parameter in encoder.parameters()) / 1e6
    licence = getattr(timm.get_pretrained_cfg(name), 'license', None) or '-'
    configs = f'`*_{suffix}.py`' if suffix else ''
    return (
        f'| `{name}` | {pre_training} | {licence} | {encoder.patch_size} | {millions:.1f} M | '
        f'{gflops(encoder, 512):.0f} | windows, any size, frozen, compile | {configs} |'
    )


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the tool; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('out', type=Path, help='the page to write')
    args = parser.parse_args(argv)
    rows = [row(*encoder) for encoder in ENCODERS]
    args.out.write_text(HEAD + '\n'.join(rows) + '\n' + TAIL)
    print(f'wrote {args.out}: {len(rows)} encoders')
    return 0


if __name__ == '__main__':
    sys.exit(main())
