"""Folds a tuning method (LoRA, SSF) into plain weights, for a model without tuning.

    python tools/convert/merge_tuning.py configs/coco/mask_rcnn_vitadapter_b_lora.py \
        work_dirs/coco/mask_rcnn_vitadapter_b_lora/tuned_epoch_36.pth merged.pth

The checkpoint may be whole or a delta. What comes out belongs to the same configuration without
`tuning` (of a `TunedBackbone`: with its `backbone` alone), and gives the same predictions.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

# A checkout that is not installed works too; an installed package goes first.
sys.path.append(str(Path(__file__).resolve().parents[2]))
sys.path.append(str(Path(__file__).resolve().parents[2] / 'ops'))

from vitadapter_cli import config_parser, parse


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Reads the command line."""
    parser = config_parser('Fold a tuning method into plain weights.')
    parser.add_argument('checkpoint', help='whole checkpoint or delta')
    parser.add_argument('out', help='where the merged checkpoint goes')
    return parse(parser, argv)


if __name__ == '__main__':
    parse_args()  # what the command line shows to be wrong ends here, before the slow imports

import torch
from mmengine.model import revert_sync_batchnorm

from vitadapter_dense.checkpoints.checked_loading import WeightsError, load_checked, read_checkpoint
from vitadapter_dense.checkpoints.files import write_checkpoint
from vitadapter_dense.command_line.arguments import errors_as_message, read_config
from vitadapter_dense.inference.predictor import build_model
from vitadapter_dense.reports.output_files import check_outputs, write_output
from vitadapter_dense.tuning.delta import complete_state_dict, tuned_backbones

COMMAND = 'merge_tuning'


def merge(cfg: object, checkpoint: str) -> dict:
    """The merged checkpoint: `meta` as it was and the plain model's `state_dict`.

    Raises:
        ValueError: the configuration tunes nothing.
        TypeError: its method cannot be folded.
        WeightsError: the checkpoint does not fit.
    """
    model = revert_sync_batchnorm(build_model(cfg))
    backbones = dict(tuned_backbones(model))
    if not backbones:
        raise ValueError('the configuration has no tuning method: there is nothing to merge')
    content = read_checkpoint(checkpoint)
    state = complete_state_dict(model, content, checkpoint)
    load_checked(model, state, min_share=1.0, what=f'checkpoint {checkpoint}')
    for backbone in backbones.values():
        backbone.tuning.merge()
    own = tuple(f'{name}.tuning.' if name else 'tuning.' for name in backbones)
    plain = {key: t for key, t in model.state_dict().items() if not key.startswith(own)}
    return dict(meta=content.get('meta', {}), state_dict=plain)


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the tool; returns the exit status."""
    args = parse_args(argv)
    with errors_as_message():
        check_outputs([args.out], command=COMMAND, inputs=[args.checkpoint])
        cfg = read_config(args)
    try:
        merged = merge(cfg, args.checkpoint)
    except (TypeError, ValueError, WeightsError) as error:
        raise SystemExit(f'error: {error}') from error
    with write_output(args.out, command=COMMAND) as partial:
        write_checkpoint(merged, partial)
    also = ''
    if any(t.dtype == torch.bfloat16 for t in merged['state_dict'].values()):
        also = " and without dtype='bfloat16' of the encoder, which would round what was folded in"
    print(f'{args.out}: {len(merged["state_dict"])} tensors, for the model without tuning{also}')
    return 0


if __name__ == '__main__':
    sys.exit(main())
