"""Writes the table of docs/encoders.md: what is known of the encoders that are configured.

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

from vitadapter_cli import parse


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Reads the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('page', type=Path, help='docs/encoders.md')
    return parse(parser, argv)


if __name__ == '__main__':
    parse_args()  # what the command line shows to be wrong ends here, before the slow imports

import timm
import torch
from torch.utils.flop_counter import FlopCounterMode

from vitadapter_dense.encoders import TimmViT

# timm's name, pre-training, file names of the configs
ENCODERS = (
    ('deit_tiny_patch16_224.fb_in1k', 'DeiT, ImageNet-1k', '*_t.py'),
    ('deit_small_patch16_224.fb_in1k', 'DeiT, ImageNet-1k', '*_s.py'),
    ('deit_base_patch16_224.fb_in1k', 'DeiT, ImageNet-1k', '*_b.py'),
    ('deit3_base_patch16_384.fb_in22k_ft_in1k', 'DeiT-III, ImageNet-22k', ''),
    ('vit_tiny_patch16_224.augreg_in21k_ft_in1k', 'AugReg, ImageNet-21k', '*_t_augreg.py'),
    ('vit_small_patch16_384.augreg_in21k_ft_in1k', 'AugReg, ImageNet-21k', '*_s_augreg.py'),
    ('vit_base_patch16_384.augreg_in21k_ft_in1k', 'AugReg, ImageNet-21k', '*_b_augreg.py'),
    ('vit_base_patch16_224.orig_in21k', 'ViT, ImageNet-21k', 'classifier_vit_b_in21k_*.py'),
    ('vit_base_patch16_224.augreg_in21k', 'AugReg, ImageNet-21k', '*_vit_b_cifar100_10*.py'),
    ('vit_large_patch16_224.augreg_in21k', 'AugReg, ImageNet-21k', 'setr_pup_vit_l_*.py'),
    ('vit_large_patch16_384.augreg_in21k_ft_in1k', 'AugReg, ImageNet-21k', '*_l.py'),
    ('vit_base_patch16_224.mae', 'MAE, ImageNet-1k', '*_b_mae.py'),
    ('vit_large_patch16_224.mae', 'MAE, ImageNet-1k', '*_l_mae.py'),
    ('vit_base_patch16_clip_224.openai', 'CLIP', ''),
    ('vit_base_patch16_siglip_512.webli', 'SigLIP', ''),
    ('vit_base_patch16_siglip_512.v2_webli', 'SigLIP 2', ''),
    ('vit_small_patch16_224.dino', 'DINO, ImageNet-1k', ''),
    ('vit_small_patch14_dinov2.lvd142m', 'DINOv2', '*_s_dinov2*.py'),
    ('vit_base_patch14_dinov2.lvd142m', 'DINOv2', '*_b_dinov2*.py'),
    ('vit_large_patch14_dinov2.lvd142m', 'DINOv2', '*_l_dinov2*.py'),
    ('vit_giant_patch14_dinov2.lvd142m', 'DINOv2', ''),
    ('vit_base_patch14_reg4_dinov2.lvd142m', 'DINOv2, registers', ''),
    ('beit_base_patch16_224.in22k_ft_in22k', 'BEiT, ImageNet-22k', '*_b_beit.py'),
    ('beit_large_patch16_224.in22k_ft_in22k', 'BEiT, ImageNet-22k', '*_l_beit.py'),
    ('beitv2_base_patch16_224.in1k_ft_in22k', 'BEiT v2, ImageNet-1k and 22k', '*_b_beitv2.py'),
    ('beitv2_large_patch16_224.in1k_ft_in22k', 'BEiT v2, ImageNet-1k and 22k', '*_l_beitv2.py'),
    ('eva02_small_patch14_336.mim_in22k_ft_in1k', 'EVA-02, ImageNet-22k', '*_s_eva02.py'),
    ('eva02_base_patch14_448.mim_in22k_ft_in22k_in1k', 'EVA-02, ImageNet-22k', '*_b_eva02.py'),
    ('eva02_large_patch14_448.mim_m38m_ft_in22k_in1k', 'EVA-02, Merged-38M', '*_l_eva02.py'),
    ('vit_small_patch16_dinov3.lvd1689m', 'DINOv3', '*_s_dinov3*.py'),
    ('vit_base_patch16_dinov3.lvd1689m', 'DINOv3', '*_b_dinov3*.py'),
    ('vit_large_patch16_dinov3.lvd1689m', 'DINOv3', '*_l_dinov3*.py'),
    ('vit_huge_plus_patch16_dinov3.lvd1689m', 'DINOv3', ''),
    ('vit_7b_patch16_dinov3.lvd1689m', 'DINOv3', '*_7b_dinov3*.py'),
    ('vit_large_patch16_dinov3.sat493m', 'DINOv3, satellite images', ''),
    ('vit_7b_patch16_dinov3.sat493m', 'DINOv3, satellite images', ''),
    ('vit_pe_spatial_tiny_patch16_512.fb', 'Perception Encoder, spatial', ''),
    ('vit_pe_spatial_small_patch16_512.fb', 'Perception Encoder, spatial', ''),
    ('vit_pe_spatial_base_patch16_512.fb', 'Perception Encoder, spatial', ''),
    ('vit_pe_spatial_large_patch14_448.fb', 'Perception Encoder, spatial', ''),
    ('vit_base_patch16_radio_v3.c_radio', 'C-RADIOv3', ''),
    ('vit_large_patch16_radio_v3.c_radio', 'C-RADIOv3', ''),
    ('vit_huge_patch16_radio_v3.c_radio', 'C-RADIOv3', ''),
    ('vit_giant_patch16_radio_v3.c_radio', 'C-RADIOv3', ''),
    ('vit_so400m_patch16_radio_v4.c_radio', 'C-RADIOv4', ''),
    ('vit_huge_patch16_radio_v4.c_radio', 'C-RADIOv4', ''),
)
MARKS = ('<!-- table: tools/analysis/encoders_page.py -->', '<!-- end of table -->')
COLUMNS = (
    'encoder | pre-training | licence | mean and std (0..1) | patch | params | GFLOPs at 512 | '
    'tested | configs'
)
TESTED = 'windows, any size, frozen, compile'  # by tests/encoders/test_encoders_page.py


def gflops(encoder: TimmViT, side: int) -> float:
    """Operations of one square image, in 1e9, without rotary positions (no matrix product)."""
    encoder.rope = None
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        encoder.run(encoder.embed(torch.empty(1, 3, side, side, device='meta')))
    return counter.get_total_flops() / 1e9


def shown(values: Sequence[float]) -> str:
    """Three channels, or the one number that they share."""
    return ' '.join(f'{value:.3g}' for value in (values if len(set(values)) > 1 else values[:1]))


def row(name: str, pre_training: str, configs: str) -> str:
    """The table's line of one encoder."""
    with torch.device('meta'):
        encoder = TimmViT(name)
    millions = sum(parameter.numel() for parameter in encoder.parameters()) / 1e6
    source = timm.get_pretrained_cfg(name)
    statistics = '; '.join(shown(values) for values in (source.mean, source.std))
    configs = f'`{configs}`' if configs else ''
    cells = (
        *(f'`{name}`', pre_training, source.license or '-', statistics, encoder.patch_size),
        *(f'{millions:.1f} M', f'{gflops(encoder, 512):.0f}', TESTED, configs),
    )
    return f'| {" | ".join(map(str, cells))} |'


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the tool; returns the exit status."""
    args = parse_args(argv)
    before, found, rest = args.page.read_text().partition(MARKS[0])
    _, found_end, after = rest.partition(MARKS[1])
    if not (found and found_end):
        raise SystemExit(f'{str(args.page)!r} has no table between {MARKS[0]} and {MARKS[1]}')
    lines = [f'| {COLUMNS} |', '|---' * (COLUMNS.count('|') + 1) + '|']
    lines += [row(*encoder) for encoder in ENCODERS]
    args.page.write_text('\n'.join([before + MARKS[0], *lines, MARKS[1] + after]))
    print(f'wrote the table of {args.page}: {len(ENCODERS)} encoders')
    return 0


if __name__ == '__main__':
    sys.exit(main())
