"""Every kind of model on real files: trains, saves, resumes and is evaluated, at a small size.

    python tools/experiments/kinds_on_real_data.py --coco DATA/coco_tiny --ade DATA/ade_mini
    python tools/experiments/kinds_on_real_data.py --coco DATA/coco_tiny --kinds dino htc_pp

Four iterations of `tools/train.py` with the whole configuration, but a narrow encoder of random
weights and small images; the same again from the checkpoint of the second, whose losses must be
those of the first run; `tools/test.py` on a few images. It proves that real annotations go through,
and says nothing about accuracy. Stuff, where a kind needs it, is made from the instances. Every
kind leaves a file in `--out`: a call that was stopped goes on with those that are missing.
"""

from __future__ import annotations

import argparse
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

# A checkout that is not installed works too; an installed package goes first.
ROOT = Path(__file__).resolve().parents[2]
sys.path.append(str(ROOT))
sys.path.append(str(ROOT / 'ops'))

from vitadapter_cli import parse

COMMAND = 'kinds_on_real_data'
WIDTH, SIDE, ITERS = 96, 160, 4
WIDTHS = [WIDTH] * 4

ENCODER = dict(pretrained=False, embed_dim=WIDTH, num_heads=3)
SCALES = {  # of the multi-scale pipeline: both branches and the sizes before its crop
    f'train_dataloader.dataset.pipeline.3.transforms.{step}.scales': [(256, SIDE)]
    for step in ('0.0', '1.0', '1.2')
}
TESTED = {f'{part}_dataloader.dataset.pipeline.1.scale': (256, SIDE) for part in ('val', 'test')}
SHALLOW = {
    'model.backbone.encoder.depth': 4,
    'model.backbone.encoder.window_sizes': [4, None, 4, None],
}
ADAPTER = SHALLOW | {'model.backbone.deform_num_heads': 3}
EPOCH = {
    'train_cfg.max_epochs': 1,
    'train_dataloader.batch_size': 2,
    'train_dataloader.dataset.indices': 2 * ITERS,
    'train_dataloader.dataset.filter_cfg.filter_empty_gt': False,
    'default_hooks.checkpoint.by_epoch': False,
}
BY_ITERS = {'train_cfg.max_iters': ITERS, 'train_cfg.val_interval': ITERS}
ONE_STAGE = ADAPTER | EPOCH | SCALES | TESTED
FPN = {'model.neck.in_channels': WIDTHS}
DETR = (
    ONE_STAGE
    | FPN
    | {
        'model.num_queries': 100,  # no more than small maps have cells
        'model.encoder.num_layers': 2,
        'model.decoder.num_layers': 2,
    }
)
MASKS = BY_ITERS | {
    'param_scheduler.0.end': 2,
    'param_scheduler.1.begin': 2,
    'param_scheduler.1.end': ITERS,
}
OBJECTS = MASKS | {
    'model.data_preprocessor.pad_size_divisor': SIDE,
    'train_dataloader.dataset.pipeline.3.scale': (SIDE, SIDE),
    'train_dataloader.dataset.pipeline.4.crop_size': (SIDE, SIDE),
    **{f'{part}_dataloader.dataset.pipeline.1.scale': (SIDE, SIDE) for part in ('val', 'test')},
}
SEMANTIC = MASKS | {
    'model.data_preprocessor.size': (SIDE, SIDE),
    'model.test_cfg.crop_size': (SIDE, SIDE),
    'model.test_cfg.stride': (SIDE, SIDE),
    'train_dataloader.dataset.pipeline.2.scale': (2 * SIDE, SIDE),
    'train_dataloader.dataset.pipeline.3.crop_size': (SIDE, SIDE),
    **{f'{part}_dataloader.dataset.pipeline.1.scale': (2 * SIDE, SIDE) for part in ('val', 'test')},
}


def pmt(head: str) -> dict[str, object]:
    """Its narrow encoder and decoder."""
    return {
        f'model.{head}.decoder.in_channels': WIDTHS,
        'custom_hooks.0.start': [0] * 6,
        'custom_hooks.0.end': [2, 2, 3, 3, 3, 3],
    }


def eomt(head: str) -> dict[str, object]:
    """Its narrow encoder."""
    return {
        f'model.{head}.decoder.width': WIDTH,
        'custom_hooks.0.start': [0, 0, 0],
        'custom_hooks.0.end': [2, 3, 3],
    }


#: configuration and what is made small in it
KINDS: dict[str, tuple[str, dict[str, object]]] = {
    'htc_pp': (
        'coco/htc_pp_vitadapter_l_augreg',
        ADAPTER
        | EPOCH
        | {
            'model.neck.0.in_channels': WIDTHS,
            'model.neck.1.in_channels': WIDTHS,
            'model.train_cfg.rpn_proposal.max_per_img': 100,
            'model.test_cfg.rpn.max_per_img': 50,
            'model.test_cfg.rcnn.max_per_img': 20,
            'optim_wrapper.paramwise_cfg.num_layers': 4,
            'train_dataloader.dataset.pipeline.2.scale': [(256, 128), (256, SIDE)],
        }
        | TESTED,
    ),
    'dino': ('coco/dino_vitadapter_s', DETR),
    'deformable_detr': ('coco/deformable_detr_vitadapter_s', DETR),
    'pmt_panoptic': ('coco/pmt_s_dinov3_frozen_panoptic', OBJECTS | pmt('panoptic_head')),
    'eomt_panoptic': ('coco/eomt_s_dinov3_panoptic', OBJECTS | eomt('panoptic_head')),
    'pmt_semantic': ('ade20k/pmt_s_dinov3_frozen', SEMANTIC | pmt('decode_head')),
    'eomt_semantic': ('ade20k/eomt_s_dinov3', SEMANTIC | eomt('decode_head')),
    'atss': ('coco/atss_vitadapter_s', ONE_STAGE | FPN),
    'gfl': ('coco/gfl_vitadapter_s', ONE_STAGE | FPN),
    'sparse_rcnn': ('coco/sparse_rcnn_vitadapter_s', ONE_STAGE | FPN),
    'liteadapter': (
        'coco/mask_rcnn_liteadapter_s',
        EPOCH | SCALES | TESTED | FPN | SHALLOW | {'model.backbone.out_indices': [1, 2, 3]},
    ),
    'mask2former_instance': (
        'coco/mask2former_vitadapter_b_dinov2_instance',
        ADAPTER
        | SCALES
        | TESTED
        | BY_ITERS
        | {
            'model.panoptic_head.in_channels': WIDTHS,
            'model.panoptic_head.pixel_decoder.encoder.num_layers': 1,
            'model.panoptic_head.transformer_decoder.num_layers': 1,
            'optim_wrapper.paramwise_cfg.num_layers': 4,
            'param_scheduler.0.end': ITERS,
            'param_scheduler.0.milestones': [3],
            'train_dataloader.batch_size': 2,
        },
    ),
    'pmt_instance': ('coco/pmt_s_dinov3_frozen_instance', OBJECTS | pmt('panoptic_head')),
    'eomt_instance': ('coco/eomt_s_dinov3_instance', OBJECTS | eomt('panoptic_head')),
}


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Reads the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('--coco', type=Path, help='COCO 2017, or a part of it, in its layout')
    parser.add_argument('--ade', type=Path, help='ADE20K, or a part of it, in its layout')
    parser.add_argument(
        '--out', type=Path, default=Path('work_dirs/kinds_on_real_data'), help='where results go'
    )
    parser.add_argument(
        '--kinds', nargs='+', choices=KINDS, help='default: those of the data given'
    )
    return parse(parser, argv)


if __name__ == '__main__':
    parse_args()  # what the command line shows to be wrong ends here, before the slow imports

from vitadapter_dense.checkpoints.files import atomic_write
from vitadapter_dense.command_line.arguments import errors_as_message
from vitadapter_dense.datasets.panoptic_from_instances import make_panoptic
from vitadapter_dense.reports.output_files import claim_folder


def with_stuff(source: Path, root: Path) -> Path:
    """COCO's images by links, with panoptic files and maps of stuff made from its instances."""
    from mmdet.datasets import CocoPanopticDataset

    (root / 'annotations').mkdir(parents=True, exist_ok=True)
    stuff = CocoPanopticDataset.METAINFO['stuff_classes']
    for part in ('train2017', 'val2017'):
        instances = root / 'annotations' / f'instances_{part}.json'
        for link, target in (
            (root / part, source / part),
            (instances, source / 'annotations' / instances.name),
        ):
            if not link.exists():
                link.symlink_to(target.resolve())
        made, labels = root / 'annotations' / f'panoptic_{part}', root / 'stuffthingmaps' / part
        if not made.with_suffix('.json').exists():
            options = dict(stuff=stuff, rest='wall-other-merged', label_dir=labels)
            make_panoptic(instances, made.with_suffix('.json'), made, **options)
    return root


def run(*command: object) -> str:
    """What a tool says; ends with its last lines if it fails."""
    said = subprocess.run(
        [sys.executable, *map(str, command)], cwd=ROOT, capture_output=True, text=True, check=False
    )
    if said.returncode:
        tail = '\n'.join((said.stdout + said.stderr).splitlines()[-30:])
        sys.exit(f'{" ".join(map(str, command[:3]))} failed:\n{tail}')
    return said.stdout + said.stderr


def losses(work_dir: Path) -> dict[int, float]:
    """The loss of each iteration."""
    found = {}
    for file in sorted(work_dir.glob('*/vis_data/*.json')):
        for line in file.read_text().splitlines():
            entry = json.loads(line) if line.startswith('{"') else {}
            if 'loss' in entry:
                found[entry.get('iter', entry.get('step'))] = entry['loss']
    return found


def examine(kind: str, data: Path, folder: Path) -> dict[str, object]:
    """Trains, resumes and tests a kind; its losses and metrics."""
    name, small = KINDS[kind]
    options = {f'model.backbone.encoder.{key}': value for key, value in ENCODER.items()} | small
    options |= {
        'default_hooks.logger.interval': 1,
        'default_hooks.checkpoint.interval': 2,
        'log_processor.window_size': 1,
        'train_dataloader.num_workers': 1,
        **{f'{part}_dataloader.dataset.indices': 8 for part in ('val', 'test')},
    }
    given = [
        '--cfg-options',
        *(f'{key}={value}'.replace(' ', '') for key, value in options.items()),
    ]
    whole, again = folder / 'whole', folder / 'again'
    for done in (whole, again):
        shutil.rmtree(done, ignore_errors=True)
    config, root = f'configs/{name}.py', ['--data-root', data.resolve()]
    train = ['tools/train.py', config, *root, '--seed', 7, '--work-dir']
    run(*train, whole, *given)
    again.mkdir(parents=True)
    shutil.copy(whole / 'iter_2.pth', again)
    run(*train, again, '--resume', *given)
    expected, resumed = losses(whole), losses(again)
    if sorted(expected) != [1, 2, 3, 4] or sorted(resumed) != [3, 4]:
        sys.exit(f'{kind}: losses of {sorted(expected)}, resumed {sorted(resumed)}')
    scores = folder / 'metrics.json'
    run('tools/test.py', config, again, *root, '--out', scores, *given)
    wanted = re.compile(r'(mAP|PQ|mIoU)$')
    metrics = {k: v for k, v in json.loads(scores.read_text()).items() if wanted.search(k)}
    deviation = max(abs(resumed[i] / expected[i] - 1) for i in resumed)
    return dict(config=name, losses=list(expected.values()), deviation=deviation, metrics=metrics)


def main(argv: Sequence[str] | None = None) -> int:
    """Runs what is missing and prints a row for each kind."""
    args = parse_args(argv)
    args.out = args.out.resolve()
    with errors_as_message():
        claim_folder(args.out, command=COMMAND)
    roots = {'ade20k': args.ade}
    roots['coco'] = args.coco and with_stuff(args.coco, args.out / 'coco')
    wanted = [kind for kind in KINDS if roots[KINDS[kind][0].partition('/')[0]] is not None]
    print(
        '| kind | config | losses | resumed, deviation | `tools/test.py` |\n|---|---|---|---|---|'
    )
    for kind in args.kinds or wanted:
        result = args.out / kind / 'result.json'
        data = roots[KINDS[kind][0].partition('/')[0]]
        if data is None:
            sys.exit(f'{kind} needs --coco or --ade: see --help')
        if not result.is_file():
            found = examine(kind, data, result.parent)
            with atomic_write(result) as file:
                file.write(json.dumps(found).encode())
        found = json.loads(result.read_text())
        row = ' '.join(f'{loss:.2f}' for loss in found['losses'])
        metrics = ', '.join(f'{key} {value:.3f}' for key, value in found['metrics'].items())
        cells = (kind, found['config'], row, f'{found["deviation"]:.0e}', metrics)
        print('|', ' | '.join(cells), '|', flush=True)
    return 0


if __name__ == '__main__':
    sys.exit(main())
