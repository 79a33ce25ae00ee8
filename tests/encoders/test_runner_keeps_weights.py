"""No pre-trained weight is lost through `Runner.train()`, which initialises every module anew."""

from __future__ import annotations

import pytest
import timm
import torch
from mmengine.model import BaseModel
from mmengine.runner import Runner

from vitadapter_dense.backbones import SimplePyramid, ViTAdapter

SMALL = dict(img_size=64, embed_dim=32, depth=4, num_heads=2)
ENCODERS = {
    'vit_tiny_patch16_224': {},
    'vit_small_patch14_reg4_dinov2': dict(img_size=56),
    'beitv2_base_patch16_224': {},
    'eva02_small_patch14_224': dict(img_size=56),
    'eva02_base_patch14_224': dict(img_size=56),  # SwiGLU
    'vit_small_patch16_dinov3': {},
}


class Model(BaseModel):
    """A backbone and a loss that moves all of it."""

    def __init__(self, backbone):
        super().__init__()
        self.backbone = backbone

    def forward(self, inputs, mode='tensor'):
        outputs = self.backbone(torch.stack(inputs))
        return dict(loss=sum(output.square().mean() for output in outputs))


CASES = [
    *((name, 'adapter') for name in ENCODERS),
    ('beitv2_base_patch16_224', 'frozen'),
    ('vit_small_patch16_dinov3', 'pyramid'),
]


@pytest.mark.parametrize(('name', 'kind'), CASES)
def test_weights_are_those_of_the_file_after_a_step(name, kind, tmp_path):
    options = {**SMALL, **ENCODERS[name]}
    theirs = timm.create_model(name, num_classes=0, **options)
    weights = {key: 0.1 * torch.randn_like(tensor) for key, tensor in theirs.state_dict().items()}
    torch.save(weights, tmp_path / 'weights.pth')
    encoder = dict(
        type='TimmViT',
        model_name=name,
        pretrained=str(tmp_path / 'weights.pth'),
        keep_prefix_tokens=True,
        frozen=kind == 'frozen',
        **options,
    )
    if kind == 'pyramid':
        backbone = SimplePyramid(encoder)
    else:
        backbone = ViTAdapter(
            encoder, conv_inplane=4, deform_num_heads=2, injector=kind == 'adapter'
        )
    unused = ('timer', 'logger', 'param_scheduler', 'checkpoint', 'sampler_seed', 'runtime_info')
    Runner(
        Model(backbone),
        work_dir=str(tmp_path),
        train_dataloader=dict(
            dataset=[dict(inputs=torch.randn(3, 64, 64)) for _ in range(2)],
            batch_size=2,
            num_workers=0,
            sampler=dict(type='DefaultSampler', shuffle=False),
            collate_fn=dict(type='pseudo_collate'),
        ),
        train_cfg=dict(by_epoch=False, max_iters=1),
        optim_wrapper=dict(optimizer=dict(type='SGD', lr=0.0)),  # steps, and moves nothing
        default_hooks=dict.fromkeys(unused),
        experiment_name=f'{name}_{kind}',
        log_level='ERROR',
    ).train()
    after = backbone.encoder.state_dict()
    assert len(after) > 40
    assert set(after) <= set(weights)
    assert all(torch.equal(tensor, weights[key]) for key, tensor in after.items())
