"""ViT-Adapter-S at 512 x 512, forward and backward: ours against the reference, and msda's share.

    python ops/benchmark_backbone.py 10   # 10 steps with the back end that MSDA_BACKEND chooses

Started by `benchmark.py --backbone` for each of them: the back end is chosen when msda is imported,
so each runs in a process of its own.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def compare(threads: int, repeats: int) -> None:
    """Prints both back ends' times, their ratio and the operators' shares."""
    results = {}
    for backend in ('compiled', 'reference'):
        environment = {
            **os.environ,
            'MSDA_BACKEND': backend,
            'OMP_NUM_THREADS': str(threads),
            'PYTHONPATH': os.pathsep.join([str(ROOT), str(ROOT / 'ops')]),
        }
        count = repeats if backend == 'compiled' else max(3, repeats // 3)
        command = [sys.executable, __file__, str(count)]
        done = subprocess.run(
            command, env=environment, stdout=subprocess.PIPE, text=True, check=True
        )
        result = results[backend] = json.loads(done.stdout.splitlines()[-1])
        sys.stdout.write(
            f'{backend}: {result["ms"]:.0f} ms a step, {result["share"]:.1%} of it in msda\n'
        )
    ratio = results['reference']['ms'] / results['compiled']['ms']
    sys.stdout.write(f'reference / ours: {ratio:.2f}\n')


def measure(repeats: int) -> dict[str, float]:
    """Milliseconds of a step, and the share of time in the operators."""
    import torch
    from mmengine.registry import MODELS
    from torch.profiler import ProfilerActivity, profile

    import vitadapter_dense  # noqa: F401  (registers the backbones)

    torch.manual_seed(0)
    encoder = dict(type='TimmViT', model_name='deit_small_patch16_224', pretrained=False)
    backbone = MODELS.build(
        dict(type='ViTAdapter', encoder=encoder, deform_num_heads=6, norm_cfg=dict(type='BN'))
    ).train()
    images = torch.randn(1, 3, 512, 512)

    def step() -> None:
        backbone.zero_grad(set_to_none=True)
        sum(feature.mean() for feature in backbone(images)).backward()

    step()
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        step()
        times.append((time.perf_counter() - start) * 1e3)
    with profile(activities=[ProfilerActivity.CPU]) as profiler:
        start = time.perf_counter()
        step()
        profiled = (time.perf_counter() - start) * 1e6
    inside = sum(
        event.cpu_time_total for event in profiler.key_averages() if event.key.startswith('msda::')
    )
    return {'ms': statistics.median(times), 'share': inside / profiled}


if __name__ == '__main__':
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('repeats', type=int, help='timed steps')
    sys.stdout.write(json.dumps(measure(parser.parse_args().repeats)) + '\n')
