"""Compares tuning methods on a small transfer that runs on two CPU cores.

    python tools/experiments/tuning_shapes.py --out work_dirs/tuning_shapes
    python tools/experiments/tuning_shapes.py --arch vit --methods full head_only vpt_deep lora

A small backbone is pre-trained to classify single generated shapes. Then a segmentor with it is
tuned on scenes of the same shapes whose colours are shifted and noisy, once for every method,
learning rate and seed, all with the same head, number of steps and learning rates. The rate is
chosen by the mean over the seeds on one held-out split, what is reported is measured on another.
Every run leaves a file in `--out`; a call that was stopped goes on with the runs that are missing.
`table.md` and `plot.png` are written at the end.
"""

from __future__ import annotations

import argparse
import itertools
import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path

# A checkout that is not installed works too; an installed package goes first.
sys.path.append(str(Path(__file__).resolve().parents[2]))
sys.path.append(str(Path(__file__).resolve().parents[2] / 'ops'))

import cv2
import numpy as np
import torch
from mmengine.registry import MODELS
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from torch import Tensor, nn
from torch.nn import functional as F

import vitadapter_dense  # noqa: F401  (registers)
from vitadapter_dense.checkpoints.files import atomic_write
from vitadapter_dense.datasets.shapes import SHAPES_CLASSES
from vitadapter_dense.datasets.shapes_scene import render_scene
from vitadapter_dense.reports.output_files import OutputError, check_outputs, write_output

SIZE, CROP = 96, 64
BACKBONES = dict(
    resnet=dict(
        type='TimmStages',
        model_name='resnet18',
        layers=(2, 2, 2, 2),
        channels=(24, 48, 96, 192),
        stem_width=24,
    ),
    vit=dict(
        type='PlainViT',
        encoder=dict(
            type='TimmViT',
            model_name='vit_tiny_patch16_224',
            img_size=CROP,
            patch_size=8,
            embed_dim=128,
            depth=6,
            num_heads=4,
        ),
    ),
)
METHODS = dict(
    full=dict(type='FullTuning'),
    head_only=dict(type='HeadOnly'),
    partial1=dict(type='PartialTuning', num_blocks=1),
    bias=dict(type='BiasTuning'),
    norm=dict(type='NormTuning'),
    adapter=dict(type='Adapter', hidden=16),
    lora=dict(type='LoRA', rank=4),
    pro_tuning=dict(type='ProTuning'),
    ssf=dict(type='SSF'),
    side=dict(type='SideTuning', width=16),
    mona=dict(type='Mona', hidden=16),
    adaptformer=dict(type='AdaptFormer', hidden=16),
    convpass=dict(type='Convpass'),
    vpt=dict(type='VisualPromptTuning', num_tokens=10),
    vpt_deep=dict(type='VisualPromptTuning', num_tokens=10, deep=True),
    mlp_head=dict(type='MLPHead', num_layers=2),
)
DEFAULT = ('full', 'head_only', 'partial1', 'bias', 'adapter', 'lora', 'pro_tuning')
COMMAND = 'tuning_shapes'
RATES, SEEDS = (1e-3, 3e-3, 1e-2), (0, 1)
SPLITS = dict(train=(400, 10), select=(100, 11), test=(200, 12))  # scenes, seed


def crops(count: int, seed: int) -> tuple[Tensor, Tensor]:
    """Pictures of single shapes ``(N, 3, CROP, CROP)`` uint8, and their classes."""
    pictures, labels, index = [], [], 0
    while len(pictures) < count:
        scene = render_scene(np.random.default_rng([seed, index]), height=160, width=160)
        index += 1
        for item in scene.objects:
            x, y, w, h = item.box
            if min(w, h) >= 16:
                picture = cv2.resize(scene.image[y : y + h, x : x + w], (CROP, CROP))
                pictures.append(picture)
                labels.append(item.label)
    stacked = np.stack(pictures[:count]).transpose(0, 3, 1, 2)
    return torch.from_numpy(stacked.copy()), torch.tensor(labels[:count])


def scenes(count: int, seed: int) -> tuple[Tensor, Tensor]:
    """Shifted scenes ``(N, 3, SIZE, SIZE)`` uint8 and their semantic maps ``(N, SIZE, SIZE)``."""
    pictures, maps = [], []
    for index in range(count):
        rng = np.random.default_rng([seed, index])
        scene = render_scene(rng, height=SIZE, width=SIZE)
        # other colours, less contrast, noise
        shifted = 255 - scene.image[..., [1, 2, 0]].astype(np.float32)
        shifted = 60 + 0.5 * shifted + rng.normal(0, 12, shifted.shape)
        pictures.append(shifted.clip(0, 255).astype(np.uint8))
        maps.append(scene.semantic_map().astype(np.int64))
    stacked = np.stack(pictures).transpose(0, 3, 1, 2)
    return torch.from_numpy(stacked.copy()), torch.from_numpy(np.stack(maps))


def prepared(pictures: Tensor) -> Tensor:
    """Pixels as the backbone sees them."""
    return (pictures.float() - 127.5) / 64


class Head(nn.Module):
    """The same small head for every method: all maps to one stride, summed, and two layers.

    Args:
        channels: of the backbone's maps.
        width: of the head.
    """

    def __init__(self, channels: Sequence[int], width: int = 64) -> None:
        super().__init__()
        self.lateral = nn.ModuleList(nn.Conv2d(c, width, kernel_size=1) for c in channels)
        self.mix = nn.Sequential(
            nn.Conv2d(width, width, kernel_size=3, padding=1, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU(),
            nn.Conv2d(width, len(SHAPES_CLASSES) + 1, kernel_size=1),
        )

    def forward(self, maps: Sequence[Tensor]) -> Tensor:
        """Maps of a backbone -> logits ``(B, classes, SIZE, SIZE)``."""
        size = (SIZE // 4, SIZE // 4)
        laterals = [
            F.interpolate(layer(m), size=size, mode='bilinear')
            for layer, m in zip(self.lateral, maps, strict=True)
        ]
        return F.interpolate(self.mix(sum(laterals)), size=(SIZE, SIZE), mode='bilinear')


def train(
    parameters: list[nn.Parameter], loss_of_batch: object, count: int, *, steps: int, rate: float
) -> None:
    """AdamW with a cosine schedule over random batches of 16."""
    optimizer = torch.optim.AdamW(parameters, lr=rate, weight_decay=1e-4)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, max_lr=rate, total_steps=steps, pct_start=0.1
    )
    for _ in range(steps):
        loss = loss_of_batch(torch.randint(count, (16,)))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()


def pretrained(arch: str, out: Path, *, steps: int) -> tuple[dict[str, Tensor], float]:
    """The backbone's weights after classifying single shapes, and the share of unseen ones that it
    tells right; trained once."""
    path = out / f'pretrained_{arch}_{steps}.pth'
    if not path.is_file():
        torch.manual_seed(0)
        pictures, labels = crops(3000, seed=1)
        backbone = MODELS.build(BACKBONES[arch])
        width = backbone(torch.zeros(1, 3, CROP, CROP))[-1].shape[1]
        head = nn.Linear(width, len(SHAPES_CLASSES))

        def loss(batch: Tensor) -> Tensor:
            features = backbone(prepared(pictures[batch]))[-1].mean((2, 3))
            return F.cross_entropy(head(features), labels[batch])

        parameters = [*backbone.parameters(), *head.parameters()]
        train(parameters, loss, len(pictures), steps=steps, rate=2e-3)
        backbone.eval()
        with torch.no_grad():
            unseen, answers = crops(500, seed=2)
            features = [backbone(prepared(part))[-1].mean((2, 3)) for part in unseen.split(50)]
            right = (head(torch.cat(features)).argmax(1) == answers).float().mean().item()
        with atomic_write(path) as file:
            torch.save(dict(weights=backbone.state_dict(), accuracy=right), file)
    content = torch.load(path, weights_only=True)
    return content['weights'], content['accuracy']


@torch.no_grad()
def mean_iou(backbone: nn.Module, head: nn.Module, pictures: Tensor, maps: Tensor) -> float:
    """Mean intersection over union, background included."""
    classes = len(SHAPES_CLASSES) + 1
    confusion = torch.zeros(classes, classes)
    backbone.eval(), head.eval()
    for start in range(0, len(pictures), 32):
        batch = slice(start, start + 32)
        found = head(backbone(prepared(pictures[batch]))).argmax(1)
        pairs = (maps[batch] * classes + found).flatten()
        confusion += torch.bincount(pairs, minlength=classes**2).view(classes, classes)
    union = confusion.sum(0) + confusion.sum(1) - confusion.diag()
    return (confusion.diag() / union.clamp(min=1)).mean().item()


def run_once(
    arch: str, method: str, rate: float, seed: int, *, weights: dict, data: dict, steps: int
) -> dict[str, float]:
    """One segmentor, tuned and measured."""
    torch.manual_seed(seed)
    cfg = dict(type='TunedBackbone', backbone=BACKBONES[arch], tuning=METHODS[method])
    backbone = MODELS.build(cfg)
    backbone.load_state_dict(weights, strict=False)
    backbone.eval()
    head = Head([m.shape[1] for m in backbone(torch.zeros(1, 3, SIZE, SIZE))])
    tuned = [p for p in backbone.parameters() if p.requires_grad]
    pictures, maps = data['train']

    def loss(batch: Tensor) -> Tensor:
        return F.cross_entropy(head(backbone(prepared(pictures[batch]))), maps[batch])

    backbone.train(), head.train()
    start = time.perf_counter()
    train([*tuned, *head.parameters()], loss, len(pictures), steps=steps, rate=rate)
    return dict(
        seconds=time.perf_counter() - start,
        backbone_parameters=sum(p.numel() for p in tuned),
        head_parameters=sum(p.numel() for p in head.parameters()),
        select=mean_iou(backbone, head, *data['select']),
        test=mean_iou(backbone, head, *data['test']),
    )


def summary(results: dict[tuple[str, float, int], dict[str, float]]) -> list[dict[str, float]]:
    """For each method the rate that is best on the selection split, measured on the test split."""
    rows = []
    for method in dict.fromkeys(name for name, _, _ in results):
        by_rate: dict[float, list[dict[str, float]]] = {}
        for (name, rate, _), result in results.items():
            if name == method:
                by_rate.setdefault(rate, []).append(result)
        rate = max(by_rate, key=lambda r: np.mean([run['select'] for run in by_rate[r]]))
        runs = by_rate[rate]
        scores = [run['test'] for run in runs]
        rows.append(
            dict(
                method=method,
                parameters=runs[0]['backbone_parameters'],
                rate=rate,
                mean=float(np.mean(scores)),
                spread=float(np.ptp(scores)),
                seconds=float(np.mean([run['seconds'] for run in runs])),
            )
        )
    return rows


def write_report(
    rows: list[dict[str, float]], head: int, out: Path, *, accuracy: float, minutes: float
) -> None:
    """`table.md` and `plot.png`."""
    import matplotlib

    matplotlib.use('Agg')
    from matplotlib import pyplot

    lines = [
        '| method | trained in the backbone | learning rate | mIoU (range of seeds) | s a run |',
        '|---|---|---|---|---|',
    ]
    lines += [
        f'| {row["method"]} | {row["parameters"]:,} | {row["rate"]:g} | '
        f'{100 * row["mean"]:.1f} ({100 * row["spread"]:.1f}) | {row["seconds"]:.0f} |'
        for row in rows
    ]
    lines += [
        '',
        f'The pre-trained backbone tells {100 * accuracy:.1f} % of unseen single shapes right '
        f'(chance: {100 / len(SHAPES_CLASSES):.0f} %). The head has {head:,} parameters. '
        f'All runs of tuning together: {minutes:.0f} minutes.',
    ]
    with write_output(out / 'table.md', command=COMMAND) as partial:
        partial.write_text('\n'.join(lines) + '\n')
    figure, axes = pyplot.subplots(figsize=(6, 4))
    for row, marker in zip(rows, itertools.cycle('osD^vP*X')):
        point = (row['parameters'] + head, 100 * row['mean'])
        axes.errorbar(
            *point, 50 * row['spread'], marker=marker, linestyle='', capsize=3, label=row['method']
        )
    axes.legend(loc='center left', bbox_to_anchor=(1, 0.5), frameon=False)
    axes.set(xscale='log', xlabel='trainable parameters, head included', ylabel='mIoU (%)')
    figure.tight_layout()
    with write_output(out / 'plot.png', command=COMMAND) as partial:
        figure.savefig(partial, dpi=150)


def main(argv: Sequence[str] | None = None) -> int:
    """Runs what is missing and writes the report."""
    parser = argparse.ArgumentParser(description='Compare tuning methods on generated shapes.')
    parser.add_argument('--out', default='work_dirs/tuning_shapes', help='where results go')
    parser.add_argument('--arch', default='resnet', choices=BACKBONES)
    parser.add_argument('--methods', nargs='+', default=list(DEFAULT), choices=METHODS)
    parser.add_argument('--steps', type=int, default=400, help='of each tuning run')
    parser.add_argument('--pretrain-steps', type=int, default=1500)
    parser.add_argument('--rates', type=float, nargs='+', default=list(RATES))
    parser.add_argument('--seeds', type=int, nargs='+', default=list(SEEDS))
    args = parser.parse_args(argv)
    out = Path(args.out)
    try:
        check_outputs((out / 'table.md', out / 'plot.png'), command=COMMAND)
    except OutputError as error:
        parser.error(str(error))
    out.mkdir(parents=True, exist_ok=True)

    weights, accuracy = pretrained(args.arch, out, steps=args.pretrain_steps)
    data = {split: scenes(count, seed) for split, (count, seed) in SPLITS.items()}
    columns = (TextColumn('{task.description}'), BarColumn(), MofNCompleteColumn())
    results = {}
    with Progress(*columns, TimeRemainingColumn()) as progress:
        runs = [(m, r, s) for m in args.methods for r in args.rates for s in args.seeds]
        task = progress.add_task('tuning', total=len(runs))
        for method, rate, seed in runs:
            progress.update(task, description=f'{method}, rate {rate:g}, seed {seed}')
            settings = f'{rate:g}_{seed}_{args.steps}_{args.pretrain_steps}'
            path = out / f'{args.arch}_{method}_{settings}.json'
            if not path.is_file():
                result = run_once(
                    args.arch, method, rate, seed, weights=weights, data=data, steps=args.steps
                )
                with atomic_write(path) as file:
                    file.write(json.dumps(result).encode())
            results[method, rate, seed] = json.loads(path.read_text())
            progress.advance(task)
    head = int(next(iter(results.values()))['head_parameters'])
    minutes = sum(run['seconds'] for run in results.values()) / 60
    write_report(summary(results), head, out, accuracy=accuracy, minutes=minutes)
    print((out / 'table.md').read_text())
    print(f'Written: {out / "table.md"}, {out / "plot.png"}')
    return 0


if __name__ == '__main__':
    sys.exit(main())
