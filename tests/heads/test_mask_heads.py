"""Mask heads: PMT's decoder on maps, EoMT's in the encoder, and what they have in common."""

from __future__ import annotations

from dataclasses import replace
from itertools import permutations

import numpy as np
import pytest
import torch
from mask_toys import (
    CLASSES,
    encoder,
    encoder_only_head,
    maps,
    plain_head,
    semantic_samples,
)
from mmengine.registry import MODELS
from mmengine.structures import InstanceData
from torch.nn import functional as F

from vitadapter_dense.encoders import TimmViT
from vitadapter_dense.heads import MaskPrediction, MaskTarget
from vitadapter_dense.heads.mask_losses import sample_points
from vitadapter_dense.heads.masked_attention import attention_mask

pytest.importorskip('mmdet', reason="losses and assigner are MMDetection's")


def assert_all_learn(losses, *modules):
    total = sum(loss for name, loss in losses.items() if 'loss' in name)
    assert torch.isfinite(total)
    total.backward()
    for module in modules:
        for name, parameter in module.named_parameters():
            assert parameter.grad is not None, name
            assert torch.isfinite(parameter.grad).all(), name
    return total


@pytest.mark.parametrize('batch', [1, 2])
@pytest.mark.parametrize(
    ('channels', 'strides', 'sizes'),
    [
        ((48, 48), None, [(3, 5), (3, 5)]),
        ((24, 40, 64), [8, 16, 32], [(6, 9), (3, 5), (2, 3)]),
    ],
    ids=['plain', 'pyramid'],
)
def test_decoder_takes_any_list_of_maps(channels, strides, sizes, batch):
    head = plain_head(channels, in_strides=strides, width=48).train()
    head.decoder.mask_probabilities = [1.0, 0.5]
    size = (43, 70)  # 3 x 5 patches of 16 pixels, and not whole ones
    generator = torch.Generator().manual_seed(0)
    given = [
        torch.randn(batch, c, *hw, generator=generator, requires_grad=True)
        for c, hw in zip(channels, sizes, strict=True)
    ]
    predictions = head(given)
    assert [tuple(p.classes.shape) for p in predictions] == [(batch, 6, CLASSES + 1)] * 3
    assert [tuple(p.masks.shape) for p in predictions] == [(batch, 6, 12, 20)] * 3
    losses = head.loss(given, semantic_samples(size, batch), None)
    assert {name.rpartition('.')[0] for name in losses} == {'d0', 'd1', ''}
    assert_all_learn(losses, head)
    assert all(each.grad.abs().sum() > 0 for each in given)

    head.eval()
    scores = head.predict(given, [dict(img_shape=size)], None)
    assert scores.shape == (batch, CLASSES, *size)


@pytest.mark.parametrize('name', ['dinov3', 'deit', 'beit'])
def test_queries_enter_the_last_blocks_of_any_encoder(name):
    backbone = MODELS.build(dict(type='OpenViT', encoder=encoder(name), open_blocks=2)).train()
    head = encoder_only_head().train()
    images = torch.randn(1, 3, 43, 70)
    head.decoder.mask_probabilities = [1.0, 1.0]
    masked = head(backbone(images))
    head.decoder.mask_probabilities = [0.0, 0.0]
    for (one, _), (other, _), same in zip(masked, head(backbone(images)), (1, 0, 0), strict=True):
        assert torch.equal(one, other) == same
    head.decoder.mask_probabilities = [1.0, 0.5]
    losses = head.loss(backbone(images), semantic_samples((43, 70), 1), None)
    assert_all_learn(losses, head, backbone)
    with torch.no_grad():
        scores = head.eval().predict(backbone.eval()(images), [dict(img_shape=(43, 70))], None)
    assert scores.shape == (1, CLASSES, 43, 70)


def test_open_blocks_without_queries_are_the_encoder():
    backbone = MODELS.build(dict(type='OpenViT', encoder=encoder(), open_blocks=2)).eval()
    images = torch.randn(2, 3, 48, 64)
    begun = backbone(images)
    tokens = begun.run(begun.run(begun.tokens, 0), 1)
    whole = backbone.encoder.run(backbone.encoder.embed(images))
    torch.testing.assert_close(tokens.x, whole.x)


@pytest.mark.parametrize('name', ['dinov3', 'deit', 'beit'])
def test_masked_token_is_not_seen(name):
    """What a token may not look at changes it in no way, in no kind of block."""
    vit: TimmViT = MODELS.build(encoder(name)).eval().double()  # layer scale makes changes small
    tokens = vit.embed(torch.randn(1, 3, 48, 64, dtype=torch.float64))
    count = tokens.x.shape[1]
    mask = torch.ones(1, 1, count, count, dtype=torch.bool)
    mask[..., 2, -1] = False  # token 2 may not look at the last one
    changed = tokens.x.clone()
    changed[:, -1] = torch.randn_like(changed[:, -1])
    outputs = [
        vit.run(replace(tokens, x=x, attention_mask=mask), 0, 1).x for x in (tokens.x, changed)
    ]
    difference = (outputs[0] - outputs[1]).abs().amax(dim=(0, 2))
    assert difference[2] == 0
    assert (difference[[0, 1, 3, 4]] > 0).all()


def test_query_looks_where_its_mask_is_while_training_alone():
    head = plain_head(queries=2, num_blocks=1).decoder.train()
    (first, *_), probe = head(maps()), {}

    def keep(module, args, kwargs):
        probe.update(kwargs)

    head.blocks[0].register_forward_pre_hook(keep, with_kwargs=True)
    head(maps())
    assert probe['attn_mask'] is None, 'without the hook nothing is masked'
    head.mask_probabilities = [1.0]
    head(maps())
    mask = probe['attn_mask'][:, 0]
    wanted = F.interpolate(first.masks, (4, 5), mode='bilinear').flatten(2) > 0
    assert torch.equal(mask[:, :2, 2:], wanted)
    assert 0 < wanted.float().mean() < 1
    assert mask[:, 2:].all()
    assert mask[:, :, :2].all()
    head.mask_probabilities = [1e-9]
    head(maps())
    assert probe['attn_mask'].all()
    head.mask_probabilities = [1.0]
    assert len(head.eval()(maps())) == 1
    assert probe['attn_mask'] is None


def test_as_many_queries_are_masked_as_the_probability_says():
    torch.manual_seed(0)
    mask = attention_mask(torch.full((4, 5000, 2, 2), -1.0), (2, 2), others=1, probability=0.3)
    assert mask.shape == (4, 1, 5005, 5005)
    masked = ~mask[:, 0, :5000, 5001:].any(-1)
    assert masked.float().mean().item() == pytest.approx(0.3, abs=0.02)
    assert mask[:, 0, :, :5001].all()


@pytest.mark.parametrize('kind', ['SemanticMaskHead', 'ObjectMaskHead'])
def test_batch_without_an_object_still_reaches_every_parameter(kind):
    head = plain_head(kind=kind).train()
    if kind == 'SemanticMaskHead':
        losses = head.loss(maps(), semantic_samples((64, 80), empty=True), None)
    else:
        losses = head.loss(maps(), [_objects(np.zeros((0, 64, 80), np.uint8), [])] * 2)
    assert_all_learn(losses, head)
    assert losses['loss_mask'] == 0
    assert losses['loss_cls'] > 0


def _objects(masks, labels):
    from mmdet.structures import DetDataSample
    from mmdet.structures.mask import BitmapMasks

    sample = DetDataSample(metainfo=dict(batch_input_shape=(64, 80), img_path='a.jpg'))
    sample.gt_instances = InstanceData(
        labels=torch.tensor(labels, dtype=torch.long), masks=BitmapMasks(masks, 64, 80)
    )
    return sample


def test_things_and_stuff_are_the_segments_of_an_image():
    from mmengine.structures import PixelData

    masks = np.zeros((2, 64, 80), np.uint8)
    masks[0, :20], masks[1, 20:30] = 1, 1
    sample = _objects(masks, [2, 0])
    stuff = torch.full((1, 64, 80), 255)
    stuff[:, :20], stuff[:, 20:30], stuff[:, 40:] = 2, 0, 4  # things are in the map, too
    sample.gt_sem_seg = PixelData(sem_seg=stuff)
    head = plain_head(kind='ObjectMaskHead')
    target = head._target(sample)
    assert target.labels.tolist() == [2, 0, 4]
    assert target.masks.sum((1, 2)).tolist() == [20 * 80, 10 * 80, 24 * 80]
    classes, predicted = head.eval().predict(maps(), [sample] * 2)
    assert classes.shape == (2, 6, CLASSES + 1)
    assert predicted.shape == (2, 6, 64, 80)


def test_matching_is_the_cheapest_of_all_pairings():
    """Costs written anew for each pair, and every pairing tried."""
    head = plain_head(queries=4)
    generator = torch.Generator().manual_seed(1)
    classes = torch.randn(4, CLASSES + 1, generator=generator) * 3
    masks = torch.randn(4, 12, 20, generator=generator) * 5
    target = MaskTarget(torch.tensor([3, 0, 3]), torch.rand(3, 48, 80, generator=generator) > 0.6)
    torch.manual_seed(2)
    queries, objects = head.losses.match(MaskPrediction(classes, masks), target)
    torch.manual_seed(2)
    points = torch.rand(1, 64, 2)
    logits = sample_points(masks, points.expand(4, -1, -1)).double().numpy()
    wanted = sample_points(target.masks.float(), points.expand(3, -1, -1)).double().numpy()
    shares = classes.double().softmax(-1).numpy()
    cost = np.zeros((4, 3))
    for q in range(4):
        for o in range(3):
            inside = 1 / (1 + np.exp(-logits[q]))
            entropy = -np.mean(wanted[o] * np.log(inside) + (1 - wanted[o]) * np.log(1 - inside))
            overlap = 2 * np.sum(inside * wanted[o])
            dice = 1 - (overlap + 1) / (inside.sum() + wanted[o].sum() + 1)
            cost[q, o] = -2 * shares[q, target.labels[o]] + 5 * entropy + 5 * dice
    cheapest = min(permutations(range(4), 3), key=lambda qs: cost[list(qs), range(3)].sum())
    assert {int(o): int(q) for q, o in zip(queries, objects, strict=True)} == dict(
        enumerate(cheapest)
    )


def test_points_lie_between_pixels_as_bilinear_resizing_has_it():
    masks = torch.randn(2, 6, 7)
    rows, columns = torch.meshgrid(torch.arange(3), torch.arange(5), indexing='ij')
    centres = torch.stack([(columns + 0.5) / 5, (rows + 0.5) / 3], dim=-1).flatten(0, 1)
    sampled = sample_points(masks, centres.expand(2, -1, -1)).unflatten(1, (3, 5))
    resized = F.interpolate(masks[None], (3, 5), mode='bilinear')[0]
    torch.testing.assert_close(sampled, resized)


def test_masks_of_an_odd_size_are_compared_where_they_are():
    """An image ends within the last patch: its masks must not be stretched over the whole one."""
    head = plain_head(queries=1)
    target = torch.zeros(1, 40, 70, dtype=torch.bool)
    target[:, :20, :32] = True
    masks = torch.full((1, 1, 12, 20), -20.0)  # of 3 x 5 patches, 48 x 80 pixels
    masks[:, :, :5, :8] = 20
    classes = torch.zeros(1, 1, CLASSES + 1)
    head.decoder.forward = lambda features: [MaskPrediction(classes, masks)]
    losses = head._losses(None, [MaskTarget(torch.tensor([1]), target)], (40, 70))
    assert losses['loss_dice'] < 0.5
    _, predicted = head._predict(None, (40, 70))
    inside = predicted[0, 0] > 0
    assert inside.shape == (40, 70)
    assert (inside != target[0]).float().mean() < 0.01


def test_scores_are_of_the_window_or_of_the_padded_image():
    """MMSegmentation's slide leaves `pad_shape` that of the image, whatever the window is."""
    head = plain_head().eval()
    features = maps(1, hw=(3, 5))  # of 48 x 80 pixels
    window = dict(img_shape=(40, 70), pad_shape=(64, 160))
    padded = dict(img_shape=(30, 70), pad_shape=(48, 80))
    with torch.no_grad():
        slid = head.predict(features, [window], dict(mode='slide'))
        whole = head.predict(features, [padded], dict(mode='whole'))
    assert whole.shape[-2:] == (48, 80)
    torch.testing.assert_close(slid, whole[..., :40, :70])


def test_losses_are_those_of_float32_under_autocast():
    """Logits as large as trained ones, in 16 bits: costs and losses don't become 16 bits, too."""
    head = plain_head(queries=3)
    generator = torch.Generator().manual_seed(3)
    classes = (torch.randn(2, 3, CLASSES + 1, generator=generator) * 30).bfloat16()
    masks = (torch.randn(2, 3, 12, 20, generator=generator) * 60).bfloat16()
    targets = [
        MaskTarget(torch.tensor([1, 2]), torch.rand(2, 48, 80, generator=generator) > 0.5)
        for _ in range(2)
    ]
    results = []
    for autocast in (True, False):
        torch.manual_seed(4)
        with torch.autocast('cpu', torch.bfloat16, enabled=autocast):
            prediction = (
                MaskPrediction(classes, masks)
                if autocast
                else MaskPrediction(classes.float(), masks.float())
            )
            results.append(head.losses([prediction], targets))
    for name, loss in results[0].items():
        assert loss.dtype == torch.float32
        assert loss == results[1][name], name


def test_matching_tells_costs_apart_that_16_bits_do_not():
    head = plain_head(queries=2)
    masks = torch.full((2, 12, 20), -60.0)
    masks[1] = -59.9  # the cheaper one, and the same in bfloat16
    targets = [MaskTarget(torch.tensor([1]), torch.ones(1, 48, 80))]
    found = []
    head.losses.loss_cls.register_forward_pre_hook(lambda module, args: found.append(args[1]))
    with torch.autocast('cpu', torch.bfloat16):
        head.losses([MaskPrediction(torch.zeros(1, 2, CLASSES + 1), masks[None])], targets)
    assert found[0].tolist() == [CLASSES, 1]


@pytest.mark.parametrize('value', [torch.inf, -torch.inf, torch.nan], ids=str)
def test_a_logit_that_is_not_finite_ends_in_the_loss(value):
    """Where `FiniteLossHook` leaves the step out, and names the images; SciPy would end the run."""
    head = plain_head()
    for part in (0, 1):
        prediction = [torch.randn(1, 6, CLASSES + 1), torch.randn(1, 6, 16, 20)]
        prediction[part][0, :, 3] = value
        head.decoder.forward = lambda features, made=prediction: [MaskPrediction(*made)]
        losses = head.loss(None, semantic_samples((64, 80), 1), None)
        assert not torch.isfinite(sum(losses.values()))


@pytest.mark.parametrize('decoder', ['plain', 'encoder only'])
def test_heads_train_under_autocast(decoder):
    kind = dict(type='OpenViT', encoder=encoder(), open_blocks=2)
    if decoder == 'plain':
        kind = dict(type='PlainViT', encoder=encoder(frozen=True), out_indices=[1, 3])
    backbone = MODELS.build(kind).train()
    head = (plain_head() if decoder == 'plain' else encoder_only_head()).train()
    head.decoder.mask_probabilities = [1.0, 0.5]
    with torch.no_grad():  # masks as sure of themselves as trained ones
        head.decoder.predictor.mask_embed[-1].weight.mul_(300)
    with torch.autocast('cpu', torch.bfloat16):
        features = backbone(torch.randn(2, 3, 64, 80))
        assert head(features)[-1].masks.abs().max() > 100
        losses = head.loss(features, semantic_samples((64, 80)), None)
    assert_all_learn(losses, head)


def test_frozen_encoder_stays_as_it_is_and_serves_two_tasks():
    from vitadapter_dense import MultiTaskModel

    class Model(torch.nn.Module):
        def __init__(self, classes_seed):
            super().__init__()
            torch.manual_seed(0)
            kind = dict(type='PlainViT', encoder=encoder(frozen=True), out_indices=[1, 3])
            self.backbone = MODELS.build(kind)
            torch.manual_seed(classes_seed)
            self.decode_head = plain_head()
            self.data_preprocessor = torch.nn.Identity()

    model = Model(1).train()
    before = {key: value.clone() for key, value in model.backbone.state_dict().items()}
    trained = [p for p in model.parameters() if p.requires_grad]
    assert {id(p) for p in trained} == {id(p) for p in model.decode_head.parameters()}
    optimizer = torch.optim.AdamW(trained, lr=0.1)
    losses = model.decode_head.loss(
        model.backbone(torch.randn(2, 3, 64, 80)), semantic_samples((64, 80)), None
    )
    assert_all_learn(losses, model.decode_head)
    optimizer.step()
    assert not model.backbone.encoder.training
    for key, value in model.backbone.state_dict().items():
        assert torch.equal(value, before[key]), key
    assert all(p.grad is None for p in model.backbone.parameters())

    shared = MultiTaskModel({'one': model, 'other': Model(2)})
    assert shared.shared['one', 'other'] == ['']


def test_wrong_numbers_are_named_with_their_mend():
    head = plain_head((48, 48, 48))
    with pytest.raises(ValueError, match=r'gives 2 maps of \[48, 48\].*in_channels=\[48, 48, 48\]'):
        head(maps())
    with pytest.raises(ValueError, match=r'in_strides=\[8, 32\].*stride=16 must be one of them'):
        plain_head(in_strides=[8, 32])
    with pytest.raises(ValueError, match='width=48 and num_heads=5'):
        plain_head(num_heads=5)
    backbone = MODELS.build(dict(type='OpenViT', encoder=encoder(), open_blocks=3))
    begun = backbone(torch.randn(1, 3, 64, 80))
    with pytest.raises(ValueError, match='num_blocks=2, but the backbone leaves 3 open'):
        encoder_only_head()(begun)
    with pytest.raises(ValueError, match='leaves none open: take OpenViT, with open_blocks=2'):
        encoder_only_head()(maps())
    with pytest.raises(ValueError, match='width=32, but the encoder has 48 channels'):
        encoder_only_head(3, width=32)(begun)
    with pytest.raises(ValueError, match='a.jpg has 5 objects for 4 queries.*num_queries=5'):
        plain_head(queries=4).loss(maps(), semantic_samples((64, 80)), None)
    for stride in (14, 32):
        with pytest.raises(ValueError, match=rf'stride={stride}, so .* have 64 x 80: set st'):
            plain_head(stride=stride).loss(maps(), semantic_samples((64, 80)), None)
    with pytest.raises(ValueError, match='open_blocks=5 must lie between 1 and 4'):
        MODELS.build(dict(type='OpenViT', encoder=encoder(), open_blocks=5))
    windows = encoder(window_sizes=[None, 2, 2, None])
    with pytest.raises(ValueError, match=r'\[2, None\].*set them to None'):
        MODELS.build(dict(type='OpenViT', encoder=windows, open_blocks=2))
