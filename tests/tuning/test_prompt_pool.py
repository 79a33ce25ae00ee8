"""Prompt pools: the public figures, what they see, whose slots train, and where they start."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

pytest.importorskip('mmcv.ops', reason='needs mmcv')

import torch
from mmengine.registry import MODELS
from torch import Tensor, nn

from tests.tuning.toys import VIT, build, images
from vitadapter_dense import TokenReadOut
from vitadapter_dense.continual.start_task import check_tasks
from vitadapter_dense.training.errors import SettingsError
from vitadapter_dense.training.prompt_start import PromptStartHook
from vitadapter_dense.tuning.prompt_choice import PromptChoice

FIGURES = np.load(Path(__file__).parents[1] / 'data' / 'l2p_prompt_pool.npz')
POOL = dict(type='PromptPool', size=6, length=2, top_k=2, query='mean')
OWN = dict(POOL, slots_per_task=2)


@pytest.mark.parametrize('query', ['cls', 'mean', 'max'])
@pytest.mark.parametrize('batchwise', [False, True])
def test_the_public_ports_figures(batchwise: bool, query: str) -> None:
    prefix = f'batchwise{int(batchwise)}_{query}/'
    given = {
        name.removeprefix(prefix): torch.from_numpy(FIGURES[name])
        for name in FIGURES.files
        if name.startswith(prefix)
    }
    tokens = given['tokens'].requires_grad_()
    prompts = given['prompt'].requires_grad_()
    choice = PromptChoice(given['prompt_key'], 2, batchwise=batchwise)
    queries = dict(cls=given['cls_features'], mean=tokens.mean(1), max=tokens.amax(1))
    found = choice(queries[query], torch.tensor(-1))
    assert torch.equal(found.slots, given['selected'])
    prompted = torch.cat([prompts[found.slots].flatten(1, 2), tokens], dim=1)
    loss = prompted.square().mean() - 0.1 * found.mean_cosine()
    loss.backward()
    close = dict(rtol=1e-10, atol=1e-12)
    for value, name in (
        (found.similarity, 'similarity'),
        (found.mean_cosine(), 'mean_cosine'),
        (prompted, 'prompted'),
        (loss, 'loss'),
        (prompts.grad, 'grad_prompt'),
        (choice.keys.own.grad, 'grad_prompt_key'),
        (tokens.grad, 'grad_tokens'),
    ):
        torch.testing.assert_close(value, given[name], **close)


@torch.no_grad()
def seen_by(plain: nn.Module, batch: Tensor) -> Tensor:
    """What an untuned backbone's last block gives, averaged over the map."""
    if hasattr(plain, 'encoder'):
        encoder = plain.encoder
        return encoder.run_through(batch, [encoder.depth - 1])[-1].grid.mean(1)
    out: list[Tensor] = []
    stages = plain.stages if hasattr(plain, 'stages') else plain.model.layers
    handle = stages[-1].blocks[-1].register_forward_hook(lambda _m, _a, own: out.append(own))
    plain(batch)
    handle.remove()
    return out[0].flatten(1, -2).mean(1)


@pytest.mark.parametrize(
    'backbone',
    [
        'vit',
        'vitadapter',
        pytest.param('timm_swin', marks=pytest.mark.slow),
        pytest.param('swin', marks=pytest.mark.slow),
    ],
)
@torch.no_grad()
def test_a_query_is_what_the_untuned_encoder_sees(backbone: str) -> None:
    plain, tuned = build(backbone), build(backbone, POOL)
    for model in (plain, tuned):  # MMDetection's Swin returns nothing here
        model.eval()
    queries: list[Tensor] = []
    tuned.tuning.choice.register_forward_pre_hook(lambda _m, args: queries.append(args[0]))
    for batch in (images(), torch.randn(1, 3, 85, 50)):
        first = tuned(batch)
        tuned.tuning.prompts.own.normal_()
        second = tuned(batch)
        assert [m.shape for m in first] == [m.shape for m in plain(batch)]
        assert not torch.allclose(first[-1], second[-1], atol=1e-3)
        expected = seen_by(plain, batch)
        for query in queries:
            torch.testing.assert_close(query, expected, rtol=1e-4, atol=1e-5)
        queries.clear()


@torch.no_grad()
def test_what_is_read_of_prompts_is_what_a_vit_makes_of_them() -> None:
    cfg = dict(dict(VIT, keep_final_norm=True), keep_prefix_tokens=True)
    tuning = dict(POOL, query='cls')
    read: dict[str, TokenReadOut] = {}
    for source in ('prompts', 'cls', 'average'):
        torch.manual_seed(0)
        read[source] = TokenReadOut(cfg, source, tuning=tuning).eval()
    encoder, pool = read['prompts'].encoder, read['prompts'].tuning
    seen = encoder.normed(encoder.run_untouched(images()).x)[:, 0]
    keys = nn.functional.normalize(pool.choice.keys.own, dim=1)
    slots = (nn.functional.normalize(seen, dim=1) @ keys.T).topk(2, dim=1).indices
    embedded = encoder.embed(images()).x
    chosen = pool.prompts.own[slots].flatten(1, 2)
    x = torch.cat([embedded[:, :1], chosen, embedded[:, 1:]], dim=1)
    for block in encoder.blocks:
        x = block(x)
    x = encoder.norm(x)
    for source, part in dict(
        prompts=x[:, 1:5].mean(1), cls=x[:, 0], average=x[:, 5:].mean(1)
    ).items():
        (found,) = read[source](images())
        torch.testing.assert_close(found, part, rtol=1e-4, atol=1e-5)


def trained(model: nn.Module, optimizer: torch.optim.Optimizer, steps: int = 2) -> nn.Module:
    model.train()
    for _ in range(steps):
        optimizer.zero_grad()
        maps = model(images())
        losses = model.tuning.losses()
        assert model.tuning.losses() == {}  # handed out once
        (maps[-1].square().mean() + sum(losses.values())).backward()
        optimizer.step()
    return model


def slots(model: nn.Module) -> list[Tensor]:
    pool = model.tuning
    with torch.no_grad():
        return [pool.prompts(pool.task).clone(), pool.choice.keys(pool.task).clone()]


@pytest.mark.parametrize('transfer', [False, True])
def test_a_task_trains_its_own_slots_alone(transfer: bool) -> None:
    model = build('vit', dict(OWN, transfer=transfer))
    start = slots(model)
    # a decay would move what rests if it were in the optimiser's hands
    optimizer = torch.optim.AdamW(model.tuning.parameters(), lr=0.1, weight_decay=0.5)
    chosen: list[Tensor] = []
    model.tuning.choice.register_forward_hook(lambda _m, _a, out: chosen.append(out.slots))
    for task in range(3):
        model.tuning.start_task(task)
        begun = slots(model)
        model.tuning.start_task(task)  # a resume
        own, rest = slice(2 * task, 2 * task + 2), [s for s in range(6) if s // 2 != task]
        for now, first, before in zip(slots(model), begun, start, strict=True):
            assert torch.equal(now, first)
            source = before[2 * task - 2 : 2 * task] if transfer and task else begun[0][:0]
            if transfer and task:
                assert torch.equal(first[own], source)
        trained(model, optimizer)
        for now, first in zip(slots(model), begun, strict=True):
            assert torch.equal(now[rest], first[rest])
            assert (now[own] != first[own]).all(dim=-1).any()
        assert {int(s) // 2 for s in torch.cat(chosen).flatten()} == {task}
        chosen.clear()
        start = slots(model)
        model.eval()(images(8))
        assert int(torch.cat(chosen).max()) < 2 * task + 2  # of tasks so far, no other
        assert model.tuning.losses() == {}  # an evaluation keeps nothing
        chosen.clear()
        again = build('vit', dict(OWN, transfer=transfer))
        again.load_state_dict(model.state_dict())
        assert all(map(torch.equal, slots(again), start))
    for too_many in (lambda: model.tuning.start_task(3), lambda: check_tasks(model, 4)):
        with pytest.raises(ValueError, match='slots for 3 tasks, and there are 4: set size=8'):
            too_many()


@pytest.mark.parametrize(
    ('options', 'backbone', 'size'),
    [
        (dict(length=3), 'vit', (4, 8)),  # the pixels are the numbers of three tokens of 32
        (dict(image_size=32), 'vit', (32, 32)),
        pytest.param(dict(image_size=8), 'timm_swin', (8, 8), marks=pytest.mark.slow),
    ],
)
def test_prompts_start_as_images(
    options: dict[str, int], backbone: str, size: tuple[int, int]
) -> None:
    model = build(backbone, dict(POOL, length=None, start='images') | options)
    pool = model.tuning
    with pytest.raises(ValueError, match=r'was given none: train with DenseRunner.*6 images'):
        model.train()(images())
    model.eval()(images())  # a model without weights may be evaluated
    given = [torch.rand(3, 40 + n, 30) for n in range(6)]
    for wrong in (given[:5], [image[:1] for image in given]):
        with pytest.raises(ValueError, match=f'given {len(wrong)} images of .*of three colours'):
            pool.start_from(wrong)
    assert pool.images_needed == 6
    with pytest.raises(SettingsError, match="start='uniform', or leave model_wrapper_cfg out"):
        PromptStartHook().before_train(SimpleNamespace(bare_model=model, mesh=object()))
    pool.start_from(given)
    assert pool.images_needed == 0
    expected = nn.functional.interpolate(given[2][None], size, mode='bilinear', antialias=True)
    assert torch.equal(pool.pictures()[2], expected[0])
    trained(model, torch.optim.SGD(pool.parameters(), lr=1.0))
    if 'image_size' in options:
        patch = model.encoder.patch_size if backbone == 'vit' else 4
        assert pool.num_tokens == 2 * (options['image_size'] // patch) ** 2
    again = build(backbone, dict(POOL, length=None, start='images') | options)
    again.load_state_dict(model.state_dict())
    assert again.tuning.images_needed == 0


BAD = {
    'top_k more than size': (dict(size=4, top_k=5), 'size=4, top_k=5.*set top_k=4 or less'),
    'top_k more than slots': (dict(slots_per_task=1), 'slots_per_task=1, top_k=2.*set top_k=1'),
    'a negative weight': (dict(key_weight=-1.0), 'key_weight=-1.0.*0 or more'),
    'no length': (dict(length=0), r'length=0\): give at least one token'),
    'no query': (dict(query='sum'), "query='sum'.*cls, mean, max"),
    'no CLS token': (dict(query='cls'), "no CLS token; set query='mean'.*keep_prefix_tokens"),
    'transfer to nothing': (dict(transfer=True), 'set slots_per_task'),
    'no start': (dict(start='noise'), "start='noise'.*uniform, zero, images"),
    'half a patch': (dict(length=None, image_size=40), '16 x 16 pixels; set image_size=32'),
    'both lengths': (dict(image_size=32), 'makes 4 tokens of such an image; leave length out'),
    'no image': (dict(start='images'), '2 tokens of 32 numbers .* set length=3'),
}


@pytest.mark.parametrize('case', BAD)
def test_what_does_not_fit_is_said_when_the_model_is_built(case: str) -> None:
    options, message = BAD[case]
    with pytest.raises(ValueError, match=message):
        build('vitadapter', POOL | options)


def test_two_methods_with_prompts_are_refused() -> None:
    both = [dict(POOL), dict(type='VisualPromptTuning')]
    with pytest.raises(ValueError, match='PromptPool and VisualPromptTuning put prompts'):
        build('vit', both)
    build('vit', [dict(POOL), dict(type='VisualPromptTuning', location='add')])
    positions = dict(
        type='mmdet.SwinTransformer', embed_dims=16, depths=(1, 1), num_heads=(2, 2),
        strides=(4, 2), out_indices=(0, 1), use_abs_pos_embed=True,
    )  # fmt: skip
    with pytest.raises(ValueError, match='use_abs_pos_embed=True'):
        MODELS.build(dict(type='TunedBackbone', backbone=positions, tuning=POOL))
