"""Computes the features of a frozen encoder for every image of a data set, once.

    python tools/dataset/cache_features.py my_config.py data/features

The model must have a frozen encoder and no injectors, the pipeline must give every image in the
same form each time; docs/encoders.md shows such a configuration. Stopped, it goes on where it was.
Features of one encoder never mix with those of another.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

# A checkout that is not installed works too; an installed package goes first.
sys.path.append(str(Path(__file__).resolve().parents[2]))
sys.path.append(str(Path(__file__).resolve().parents[2] / 'ops'))

from vitadapter_cli import add_device_argument, config_parser, parse


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Reads the command line."""
    parser = config_parser('Keep the features of a frozen encoder for a data set.')
    parser.add_argument('folder', type=Path, help='where the features go, one file an image')
    parser.add_argument(
        '--split', choices=('train', 'val', 'test'), default='train', help='default: train'
    )
    parser.add_argument(
        '--dtype',
        choices=('float16', 'bfloat16', 'float32'),
        default='float16',
        help='default: float16',
    )
    add_device_argument(parser)
    return parse(parser, argv)


if __name__ == '__main__':
    parse_args()  # what the command line shows to be wrong ends here, before the slow imports

import torch
from mmengine.dataset import pseudo_collate
from mmengine.registry import DATASETS
from torch import Tensor, nn

from vitadapter_dense.command_line.arguments import errors_as_message, read_config
from vitadapter_dense.encoders.cached import CachedEncoder
from vitadapter_dense.inference.devices import checked_device
from vitadapter_dense.inference.predictor import build_model

_REPEATS = 8  # a flip with probability 1/2 goes unseen once in 256 times


def images_of(
    model: nn.Module, dataset: torch.utils.data.Dataset, *, training: bool
) -> Iterator[Tensor]:
    """Every image of a data set as the model's encoder sees it: ``(1, 3, H, W)``.

    Args:
        model: whose ``data_preprocessor`` normalises and pads.
        dataset: the images.
        training: pad as in training, which segmentors do otherwise than in a test.

    Raises:
        ValueError: the pipeline gives the first image in another form the second time.
    """

    def prepared(index: int) -> Tensor:
        data = model.data_preprocessor(pseudo_collate([dataset[index]]), training=training)
        return data['inputs']

    first = prepared(0)
    for _ in range(_REPEATS):
        again = prepared(0)
        if again.shape != first.shape or not torch.equal(again, first):
            raise ValueError(
                'the pipeline of this split gives the same image in another form each time; leave '
                'out what is random (crop, flip, scale), or choose --split val'
            )
    for index in range(len(dataset)):
        yield prepared(index)


def cached_encoder(model: nn.Module, folder: Path, dtype: str) -> CachedEncoder:
    """The encoder of a model, writing to a folder; the blocks are those that the backbone uses.

    Raises:
        ValueError: a backbone whose encoder's features cannot be kept.
    """
    backbone = model.backbone
    encoder = getattr(backbone, 'encoder', None)
    if encoder is None:
        raise ValueError(
            f'the backbone {type(backbone).__name__} has no encoder; features are kept for '
            f'ViTAdapter, SimplePyramid and PlainViT'
        )
    if getattr(backbone, 'tuning', None) is not None:
        raise ValueError('the encoder is tuned, its features change: set tuning=None')
    if any(i.injector is not None for i in getattr(backbone, 'interactions', ())):
        raise ValueError('the adapter injects into the encoder: set injector=False in the backbone')
    if hasattr(backbone, 'spans'):
        blocks = [last for _, last in backbone.spans]
    else:
        blocks = list(backbone.out_indices)
    encoder = getattr(encoder, 'encoder', encoder)
    return CachedEncoder(encoder, folder, blocks=blocks, write=True, dtype=dtype)


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the tool; returns the exit status."""
    args = parse_args(argv)
    with errors_as_message():
        cfg = read_config(args)
        model = build_model(cfg)
        encoder = cached_encoder(model, args.folder, args.dtype)
        encoder.init_weights()
        device = checked_device(args.device)
        model.to(device)
        encoder.to(device).eval()
        dataset = DATASETS.build(cfg[f'{args.split}_dataloader'].dataset)
        made, sizes = 0, set()
        for image in images_of(model, dataset, training=args.split == 'train'):
            sizes.add(tuple(image.shape[-2:]))
            if not encoder.kept.file_of(image[0]).is_file():
                encoder.embed(image)
                made += 1
    print(f'{len(dataset)} images, {made} computed, the others were there: {args.folder}')
    if len(sizes) > 1:
        print(
            f'the images have {len(sizes)} sizes: in a batch they are padded to the largest, and '
            f'found again only where that changes nothing. Train with batch_size=1, or resize all '
            f'to one size.'
        )
    return 0


if __name__ == '__main__':
    sys.exit(main())
