"""Mask2Former of MMDetection: the original's numbers, and models that train and predict."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

pytest.importorskip('mmcv.ops', reason='needs mmcv')

from mmengine.dataset import pseudo_collate
from mmengine.registry import DATASETS, MODELS, init_default_scope
from mmengine.structures import InstanceData, PixelData
from small_segmentors import shrink_mask_head

from vitadapter_dense.datasets.shapes import generate_shapes

PANOPTIC = 'coco/mask2former_vitadapter_l_beitv2_panoptic.py'
SIZE = (64, 80)


def test_values_of_the_original(read_config):
    """detection/configs/mask2former/mask2former_beitv2_adapter_large_16x1_3x_coco-panoptic.py"""
    cfg = read_config(PANOPTIC)
    encoder, head = cfg.model.backbone.encoder, cfg.model.panoptic_head
    assert encoder.model_name == 'beitv2_large_patch16_224.in1k_ft_in22k'
    assert encoder.window_sizes == [14, 14, 14, 14, 14, 56] * 4
    assert (encoder.drop_path_rate, encoder.init_values) == (0.4, 1e-6)
    assert (head.num_queries, head.feat_channels) == (100, 256)
    assert (head.num_things_classes, head.num_stuff_classes) == (80, 53)
    assert len(head.loss_cls.class_weight) == 134
    assert (head.pixel_decoder.encoder.num_layers, head.transformer_decoder.num_layers) == (6, 9)
    wrapper = cfg.optim_wrapper
    assert (wrapper.optimizer.lr, wrapper.optimizer.weight_decay) == (1e-4, 0.05)
    assert wrapper.paramwise_cfg == dict(num_layers=24, layer_decay_rate=0.90)
    assert wrapper.clip_grad == dict(max_norm=0.01)
    (steps,) = cfg.param_scheduler
    assert (cfg.train_cfg.max_iters, steps.milestones) == (265500, [191750, 236000])
    (average,) = cfg.custom_hooks
    assert (average.type, average.momentum) == ('EMAHook', 1e-4)
    assert cfg.model.test_cfg == dict(
        panoptic_on=True,
        semantic_on=False,
        instance_on=True,
        max_per_image=100,
        iou_thr=0.8,
        filter_low_score=True,
    )


def small_mask2former(cfg):
    """With a toy backbone, and a head of few queries and layers."""
    init_default_scope(cfg.default_scope)
    model, head = cfg.model, cfg.model.panoptic_head
    depth = dict(embed_dim=96, depth=4, num_heads=3, drop_path_rate=0.0)
    model.backbone.encoder.update(pretrained=False, **depth)
    if head.type == 'ObjectMaskHead':
        shrink_mask_head(model.backbone, head)
        model.data_preprocessor.pad_size_divisor = 32
    else:
        model.backbone.encoder.window_sizes = [4, None] * 2
        head.update(in_channels=[96] * 4, num_queries=6)
        head.pixel_decoder.encoder.num_layers = 1
        head.transformer_decoder.num_layers = 2
    model.train_cfg.num_points = 64
    model.test_cfg.update(max_per_image=4, object_mask_thr=0.0, iou_thr=0.0)
    return MODELS.build(model)


def batch(count: int, *, things: int, stuff: bool):
    from mmdet.structures import DetDataSample
    from mmdet.structures.bbox import HorizontalBoxes
    from mmdet.structures.mask import BitmapMasks

    masks = np.zeros((things, *SIZE), np.uint8)
    masks[:, 8:40, 16:48] = 1
    samples = []
    for _ in range(count):
        shape = dict(img_shape=SIZE, ori_shape=SIZE, pad_shape=SIZE, scale_factor=(1.0, 1.0))
        sample = DetDataSample(metainfo=shape)
        sample.gt_instances = InstanceData(
            bboxes=HorizontalBoxes(np.array([[16.0, 8.0, 48.0, 40.0]] * things).reshape(-1, 4)),
            labels=torch.full((things,), 3),
            masks=BitmapMasks(masks, *SIZE),
        )
        if stuff:
            classes = torch.full((1, *SIZE), 90)
            classes[:, 50:] = 255
            if things:
                classes[:, 8:40, 16:48] = 3
            sample.gt_sem_seg = PixelData(sem_seg=classes)
        samples.append(sample)
    images = [torch.randint(0, 256, (3, *SIZE), dtype=torch.uint8) for _ in range(count)]
    return dict(inputs=images, data_samples=samples)


@pytest.mark.parametrize('task', ['panoptic', 'instance'])
@pytest.mark.parametrize(
    'name', ['mask2former_vitadapter_b_dinov2', 'pmt_s_dinov3_frozen', 'eomt_s_dinov3']
)
def test_trains_and_predicts(name, task, read_config):
    torch.manual_seed(0)
    cfg = read_config(f'coco/{name}_{task}.py')
    model = small_mask2former(cfg).train()
    stuff = task == 'panoptic'
    for count, things in ((2, 2), (1, 0)):  # an image without a thing, and a batch of one
        data = batch(count, things=things, stuff=stuff)
        data = model.data_preprocessor(data, training=True)
        total, _ = model.parse_losses(model(**data, mode='loss'))
        assert torch.isfinite(total)
        model.zero_grad()
        total.backward()
        if things:  # without a mask, what makes masks learns nothing
            trained = {key: p for key, p in model.named_parameters() if p.requires_grad}
            assert not [key for key, value in trained.items() if value.grad is None]
    model.eval()
    with torch.no_grad():
        (found,) = model.test_step(batch(1, things=1, stuff=stuff))
    assert found.pred_instances.masks.shape[1:] == SIZE
    assert (found.pred_instances.labels < 80).all()
    assert ('pred_panoptic_seg' in found) == stuff
    if stuff:
        assert found.pred_panoptic_seg.sem_seg.shape == (1, *SIZE)
        assert (found.pred_panoptic_seg.sem_seg % 1000 <= 133).all()


def test_panoptic_pipelines_keep_masks_maps_and_images_together(read_config, tmp_path):
    """A flip turns all three; the validation keeps the image's own coordinates."""
    generate_shapes(tmp_path, num_train=1, num_val=1, size=(64, 96), seed=2)
    cfg = read_config('shapes/mask2former_vitadapter_xs_panoptic.py')
    init_default_scope('mmdet')
    for loader, split in (('train_dataloader', 'train'), ('val_dataloader', 'val')):
        dataset = DATASETS.build(dict(cfg[loader].dataset, data_root=str(tmp_path)))
        semantic = cv2.imread(str(Path(tmp_path, 'semantic', split, '000000.png')), -1)
        semantic = np.where(semantic == 0, 5, semantic.astype(int) - 1)
        image = cv2.imread(str(Path(tmp_path, split, '000000.jpg')))
        image = cv2.resize(image, (192, 128))
        seen = set()
        for _ in range(12 if split == 'train' else 1):
            sample = dataset[0]
            labels = sample['data_samples'].gt_sem_seg.sem_seg.numpy()[0]
            pixels = sample['inputs'].permute(1, 2, 0).numpy().astype(int)
            turns = {'none': (..., ...), 'h': (slice(None), slice(None, None, -1))}
            turns |= {'v': (slice(None, None, -1),)}
            (turn,) = (
                name
                for name, where in turns.items()
                if np.abs(pixels - (image if name == 'none' else image[where])).mean() < 1
            )
            seen.add(turn)
            expected = semantic
            if split == 'train':
                expected = cv2.resize(semantic.astype(np.uint8), (192, 128), interpolation=0)
                expected = expected if turn == 'none' else expected[turns[turn]]
            np.testing.assert_array_equal(labels, expected)
            things = sample['data_samples'].gt_instances
            assert len(things) > 2
            for mask, label in zip(things.masks.masks, things.labels, strict=True):
                assert (labels[mask > 0] == int(label)).mean() > 0.9
        assert len(seen) > (split == 'train')


@pytest.mark.parametrize('task', ['instance', 'panoptic'])
def test_small_config_of_the_shapes_learns(task, read_config, tmp_path):
    """Some steps on one batch: the loss falls by a third."""
    torch.manual_seed(0)
    generate_shapes(tmp_path, num_train=2, num_val=1, size=64, seed=2)
    cfg = read_config(f'shapes/mask2former_vitadapter_xs_{task}.py')
    cfg.model.backbone.encoder.img_size = 64
    cfg.train_dataloader.dataset.pipeline[2].scale = (64, 64)
    cfg.model.train_cfg.num_points = 256
    init_default_scope(cfg.default_scope)
    model = MODELS.build(cfg.model).train()
    dataset = DATASETS.build(dict(cfg.train_dataloader.dataset, data_root=str(tmp_path)))
    data = pseudo_collate([dataset[0], dataset[1]])
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    losses = []
    for _ in range(12):
        prepared = model.data_preprocessor(data, training=True)
        total, _ = model.parse_losses(model(**prepared, mode='loss'))
        optimizer.zero_grad()
        total.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 5.0)
        optimizer.step()
        losses.append(total.item())
    assert min(losses[-3:]) < 2 / 3 * losses[0], losses
