"""Several tasks on one frozen backbone: the same predictions, tensors stored and run once."""

from __future__ import annotations

import copy
import threading
from typing import Any

import pytest

pytest.importorskip('mmcv.ops', reason='needs the compiled ops of mmcv')

import torch
from mmengine.model import BaseModel
from torch import Tensor, nn

from tests.tuning.toys import METHODS, VIT, build, images, layer_calls
from vitadapter_dense.inference.multi_task import MultiTaskModel
from vitadapter_dense.inference.shared_pass import LastResult


class Task(BaseModel):
    """A tuned backbone and a head."""

    def __init__(
        self, method: str | None, seed: int, backbone: str = 'resnet', **options: Any
    ) -> None:
        super().__init__()
        self.backbone = build(backbone, METHODS.get(method), **options)
        torch.manual_seed(seed)
        self.head = nn.LazyConv2d(3, kernel_size=1)
        with torch.no_grad():
            self.head(self.backbone.eval()(images())[-1])
            for parameter in self.backbone.parameters():
                if parameter.requires_grad:
                    parameter.add_(0.1 * torch.randn_like(parameter))

    def forward(self, inputs: Tensor, mode: str = 'tensor') -> Tensor:
        return self.head(self.backbone(inputs)[-1])


EARLY = [f'layer{stage}' for stage in (1, 2, 3)]
CASES = [
    # methods, backbone, its options; what must have run once for both tasks, and what twice
    ('head_only', 'head_only', 'resnet', {}, [''], []),
    ('head_only', 'side', 'resnet', {}, [*EARLY, 'layer4'], []),
    ('head_only', 'partial', 'resnet', {}, [*EARLY, 'layer4.0'], ['layer4.1.conv1']),
    ('partial', 'pro', 'resnet', {}, ['layer1'], ['layer2']),
    ('lora', 'pro', 'resnet', {}, [], ['layer1']),
    ('head_only', 'pro', 'swin', {}, ['patch_embed', 'stages.0.blocks.1'], ['stages.1']),
    ('head_only', 'vpt_add', 'timm_swin', {}, ['model.patch_embed'], ['model.layers.1']),
    ('head_only', 'partial', 'convnext', {}, ['model.stem', 'model.stages.1'], []),
    ('side', 'pro', 'vit', {}, ['encoder.blocks.0'], ['encoder.blocks.1']),
    ('head_only', 'partial', 'vit', {}, ['encoder.blocks.1'], ['encoder.blocks.2']),
    ('head_only', 'vpt', 'vit', {}, [], ['encoder.blocks.1']),
    ('head_only', 'head_only', 'vitadapter', dict(injector=False), ['encoder.blocks.3'], []),
    ('head_only', 'partial', 'vitadapter', dict(injector=False), ['encoder.blocks.1'], []),
    ('head_only', 'head_only', 'vitadapter', {}, [], ['encoder.blocks.0']),
]


def count(called: list[int], model: nn.Module, name: str) -> int:
    """Calls of a module of the backbone; its first convolution or linear layer stands for it."""
    module = model.backbone.get_submodule(name)
    layer = next(m for m in module.modules() if isinstance(m, (nn.Conv2d, nn.Linear)))
    return called.count(id(layer))


def from_one_base(one: str | None, other: str | None, backbone: str, **options: Any) -> dict:
    """Two tasks; what is frozen in both has the same values."""
    models = {
        task: Task(method, seed, backbone, **options)
        for task, method, seed in (('detect', one, 1), ('segment', other, 2))
    }
    known = models['detect'].backbone.state_dict()
    trains = {n for n, p in models['detect'].backbone.named_parameters() if p.requires_grad}
    own = models['segment'].backbone
    trains |= {n for n, p in own.named_parameters() if p.requires_grad}
    own.load_state_dict({n: t for n, t in known.items() if n not in trains}, strict=False)
    return models


@pytest.mark.parametrize(('one', 'other', 'backbone', 'options', 'once', 'twice'), CASES)
def test_shares_memory_and_what_stands_before_the_first_change(
    one, other, backbone, options, once, twice
):
    models = from_one_base(one, other, backbone, **options)
    alone = copy.deepcopy(models)
    batch = dict(inputs=images())
    with torch.no_grad():
        expected = {name: model.eval().test_step(batch) for name, model in alone.items()}
    together = MultiTaskModel(models)
    for _ in range(2):
        with layer_calls() as called:
            found = together.predict(dict(detect=batch, segment=batch))
        assert all(torch.equal(found[name], expected[name]) for name in models)
        for name in once:
            assert [count(called, model, name) for model in models.values()] == [1, 0], name
        for name in twice:
            assert [count(called, model, name) for model in models.values()] == [1, 1], name
    stored = {p.data_ptr() for p in together.parameters()}
    assert len(stored) < sum(1 for m in alone.values() for _ in m.parameters())
    # other inputs, no shared results; on its own a model is as before
    other_batch = dict(inputs=images() + 1)
    found = together.predict(dict(detect=batch, segment=other_batch))
    with torch.no_grad():
        after = alone['segment'].test_step(other_batch)
        assert torch.equal(found['segment'], after)
        assert torch.equal(models['segment'].test_step(other_batch), after)


def test_other_settings_of_the_same_weights_are_no_twins():
    """A segmentor's dilated ResNet has the detector's parameters and gives other maps."""
    models = from_one_base('head_only', 'head_only', 'resnet')
    dilated = Task('head_only', 2, 'resnet', strides=(1, 2, 1, 1), dilations=(1, 1, 2, 4))
    dilated.backbone.load_state_dict(models['detect'].backbone.state_dict())
    batch = dict(inputs=images())
    with torch.no_grad():
        expected = dilated.eval().test_step(batch)
    together = MultiTaskModel(dict(detect=models['detect'], segment=dilated))
    found = together.predict(dict(detect=batch, segment=batch))
    assert torch.equal(found['segment'], expected)
    (shared,) = together.shared.values()
    assert shared['layer2'].reused == 1
    assert 'layer3' not in shared


def test_three_tasks_and_a_backbone_frozen_by_its_own_switch():
    encoder = dict(VIT, frozen=True)
    options = dict(injector=False, encoder=encoder)
    models = from_one_base(None, None, 'vitadapter', **options)
    models['more'] = copy.deepcopy(models['segment'])
    together = MultiTaskModel(models)
    with layer_calls() as called:
        together.predict(dict.fromkeys(models, dict(inputs=images())))
    assert [count(called, m, 'encoder.blocks.3') for m in models.values()] == [1, 0, 0]


def test_other_base_weights_are_refused():
    models = dict(a=Task('lora', 1), b=Task('lora', 2))
    with torch.no_grad():
        models['b'].backbone.conv1.weight.add_(1)
    with pytest.raises(ValueError, match=r"'conv1.weight' in the backbones of 'a' and 'b'"):
        MultiTaskModel(models)
    with pytest.raises(ValueError, match="'b' has no backbone with frozen"):
        MultiTaskModel(dict(a=models['a'], b=nn.Linear(2, 2)))


def test_threads_share_no_results():
    """Each keeps its own, and one that is done takes nothing from another."""
    result, images = LastResult(), torch.ones(2)

    def serve() -> None:
        result.open()
        result.of(lambda x: x + 1, (images,), {})
        result.close()

    with torch.no_grad():
        result.open()
        output = result.of(lambda x: x + 2, (images,), {})
        thread = threading.Thread(target=serve)
        thread.start()
        thread.join()
        assert result.of(lambda x: x + 3, (images,), {}) is output
        assert (result.computed, result.reused) == (1, 1)
        assert copy.deepcopy(result).computed == 0
