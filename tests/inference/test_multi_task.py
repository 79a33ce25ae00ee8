"""Several tasks on one frozen backbone: the same predictions, tensors stored and run once."""

from __future__ import annotations

import copy
import threading
from typing import Any

import pytest

pytest.importorskip('mmcv.ops', reason='needs mmcv')

import torch
from mmengine.model import BaseModel, ImgDataPreprocessor
from torch import Tensor, nn

from tests.tuning.toys import METHODS, VIT, build, images, layer_calls
from vitadapter_dense.encoders import Tokens
from vitadapter_dense.inference.multi_task import MultiTaskModel
from vitadapter_dense.tuning import Tuning


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
DINO = dict(VIT, model_name='vit_small_patch16_dinov3', keep_prefix_tokens=True)
APART_WITH_CLS = dict(injector=False, encoder=DINO)
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
    ('head_only', 'partial', 'regnet', {}, ['model.stem', 'model.s3.b1'], []),
    ('side', 'pro', 'vit', {}, ['encoder.blocks.0'], ['encoder.blocks.1']),
    ('head_only', 'partial', 'vit', {}, ['encoder.blocks.1'], ['encoder.blocks.2']),
    ('head_only', 'vpt', 'vit', {}, [], ['encoder.blocks.1']),
    ('head_only', 'head_only', 'vitadapter', APART_WITH_CLS, ['encoder.blocks.3'], []),
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
    (shared,) = together.shared.values()
    assert not any(f'{own}.'.startswith(f'{name}.') for own in shared for name in twice)
    stored = {p.data_ptr() for p in together.parameters()}
    assert len(stored) < sum(1 for m in alone.values() for _ in m.parameters())
    # other images, nothing shared; on its own a model is as before
    other_batch = dict(inputs=images() + 1)
    found = together.predict(dict(detect=batch, segment=other_batch))
    with torch.no_grad():
        after = alone['segment'].test_step(other_batch)
        assert torch.equal(found['segment'], after)
        assert torch.equal(models['segment'].test_step(other_batch), after)


def test_other_settings_of_the_same_weights_are_other_functions():
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
    assert shared[-1] == 'layer2.3'


@pytest.fixture
def encoders() -> dict[str, Task]:
    """Tasks on a ViT-Adapter's encoder that is frozen by its own switch."""
    encoder = dict(VIT, frozen=True)
    return from_one_base(None, None, 'vitadapter', injector=False, encoder=encoder)


def calls_of_last_block(together: MultiTaskModel, inputs: dict[str, Any]) -> list[int]:
    with layer_calls() as called:
        together.predict(inputs)
    return [count(called, model, 'encoder.blocks.3') for model in together.models.values()]


def test_images_are_the_same_by_construction_only(encoders):
    """The same tensor and the same preprocessing; no values are compared."""
    together, batch = MultiTaskModel(encoders), dict(inputs=images())
    assert calls_of_last_block(together, dict(detect=batch, segment=dict(batch))) == [1, 0]
    copied = dict(inputs=batch['inputs'].clone())
    assert calls_of_last_block(together, dict(detect=batch, segment=copied)) == [1, 1]
    with torch.inference_mode():
        assert calls_of_last_block(together, dict(detect=batch, segment=batch)) == [1, 0]
    assert not together.predict(dict(detect=batch))['detect'].requires_grad
    given = [dict(mean=[1], std=[2]), dict(mean=[1], std=[3])]
    for model, options in zip(encoders.values(), given, strict=True):
        model.data_preprocessor = ImgDataPreprocessor(**options)
    assert MultiTaskModel(encoders).shared == {('detect', 'segment'): []}


def test_no_step_is_kept_for_tasks_that_share_the_whole():
    models = from_one_base('head_only', 'head_only', 'resnet')
    together = MultiTaskModel(models)
    assert together.shared == {('detect', 'segment'): ['']}
    kept = [name for name, module in together.named_modules() if 'forward' in vars(module)]
    assert kept == ['models.detect.backbone', 'models.segment.backbone']
    # a third that shares parts: its steps are those of either, whichever comes before it
    models['more'] = from_one_base('head_only', 'partial', 'resnet')['segment']
    together, batch = MultiTaskModel(models), dict(inputs=images())
    for order in (['detect', 'more'], ['segment', 'more'], ['more', 'segment'], list(models)):
        with layer_calls() as called:
            together.predict(dict.fromkeys(order, batch))
        stems = [count(called, model, 'conv1') for model in models.values()]
        assert sum(stems) == 1, order


def test_what_one_task_changes_in_place_is_no_result_for_another():
    class Changing(Task):
        def forward(self, inputs: Tensor, mode: str = 'tensor') -> Tensor:
            return self.head(self.backbone(inputs)[-1].add_(1))

    models = from_one_base('head_only', 'head_only', 'resnet')
    models['detect'].__class__ = Changing
    batch = dict(inputs=images())
    with torch.no_grad():
        expected = {name: model.eval().test_step(batch) for name, model in models.items()}
    with torch.inference_mode():  # whose tensors do not tell of their changes
        found = MultiTaskModel(models).predict(dict.fromkeys(models, batch))
    assert all(torch.equal(found[name], maps) for name, maps in expected.items())


def test_steps_that_are_registered_in_another_order_than_they_run():
    models = from_one_base('head_only', 'pro', 'vit')
    pro = models['segment'].backbone.tuning
    pro.sites, pro._stage_of_block = ['blocks.0'], {0: 0}
    for model in models.values():
        blocks = nn.ModuleList(model.backbone.encoder.blocks)  # called by the number in their name
        blocks._modules = dict(reversed(blocks._modules.items()))
        model.backbone.encoder.blocks = blocks
    batch = dict(inputs=images())
    with torch.no_grad():
        expected = {name: model.eval().test_step(batch) for name, model in models.items()}
    found = MultiTaskModel(models).predict(dict.fromkeys(models, batch))
    assert all(torch.equal(found[name], maps) for name, maps in expected.items())


def test_an_encoder_that_computes_in_another_type_is_its_own(encoders):
    """Frozen by its switch it is in bfloat16 under any autocast, and tuned in autocast's type."""
    own = from_one_base('head_only', 'head_only', 'vitadapter', injector=False)
    models = dict(detect=encoders['detect'].eval(), segment=own['segment'].eval())
    frozen = models['detect'].backbone.encoder.state_dict()
    models['segment'].backbone.encoder.load_state_dict(frozen)
    batch = dict(inputs=images())
    with torch.autocast('cpu', torch.float16), torch.no_grad():
        expected = {name: model.test_step(batch) for name, model in models.items()}
        found = MultiTaskModel(models).predict(dict.fromkeys(models, batch))
    assert all(torch.equal(found[name], maps) for name, maps in expected.items())
    assert calls_of_last_block(MultiTaskModel(models), dict.fromkeys(models, batch)) == [1, 0]


def test_three_tasks_one_of_which_takes_parts_of_the_images(encoders):
    class Sliding(Task):
        def forward(self, inputs: Tensor, mode: str = 'tensor') -> list[Tensor]:
            return [super(Sliding, self).forward(part) for part in inputs.chunk(2, dim=-1)]

    encoders['more'] = copy.deepcopy(encoders['segment'])
    encoders['segment'].__class__ = Sliding
    batch = dict(inputs=images())
    with torch.no_grad():
        expected = encoders['segment'].eval().test_step(batch)
    together = MultiTaskModel(encoders)
    inputs = dict.fromkeys(encoders, batch)
    assert calls_of_last_block(together, inputs) == [1, 2, 0]
    found = together.predict(inputs)['segment']
    assert all(torch.equal(part, own) for part, own in zip(found, expected, strict=True))


@pytest.mark.parametrize('place', ['before', 'behind', 'inside', 'block_hooks'])
def test_what_others_do_to_a_model_is_its_own(encoders, place):
    """Hooks that are no tuning method's act on their task alone."""
    backbone = encoders['segment'].backbone
    block = backbone.encoder.blocks[2]
    if place == 'before':
        block.register_forward_pre_hook(lambda _module, args: (args[0] + 1, *args[1:]))
    elif place == 'behind':
        block.register_forward_hook(lambda _module, _args, out: out + 1)
    elif place == 'inside':
        block.mlp.register_forward_hook(lambda _module, _args, out: out + 1)
    else:
        backbone.encoder.block_hooks.append(METHODS_OF_BLOCKS)
    batch = dict(inputs=images())
    with torch.no_grad():
        expected = {name: model.eval().test_step(batch) for name, model in encoders.items()}
    together = MultiTaskModel(encoders)
    for order in (['detect', 'segment'], ['segment', 'detect']):
        found = together.predict(dict.fromkeys(order, batch))
        assert all(torch.equal(found[name], own) for name, own in expected.items())
    ((*_, last),) = together.shared.values() if place != 'block_hooks' else [['']]
    assert last == dict(behind='encoder.blocks.2', block_hooks='').get(place, 'encoder.blocks.1')


class _AddsOne(Tuning):
    def after_block(self, index: int, tokens: Tokens) -> Tokens:
        return tokens.with_x(tokens.x + 1)


METHODS_OF_BLOCKS = _AddsOne()


def test_other_base_weights_are_refused():
    models = dict(a=Task('lora', 1), b=Task('lora', 2))
    with torch.no_grad():
        models['b'].backbone.conv1.weight.add_(1)
    with pytest.raises(ValueError, match=r"'conv1.weight' in the backbones of 'a' and 'b'"):
        MultiTaskModel(models)
    with pytest.raises(ValueError, match="'b' .Linear. has no backbone with frozen"):
        MultiTaskModel(dict(a=models['a'], b=nn.Linear(2, 2)))


def test_threads_share_no_results(encoders):
    """Two that serve one model at a time, each image in the midst of the other."""
    together = MultiTaskModel(encoders)
    batches = [dict(inputs=images()), dict(inputs=images().mT)]
    expected = [together.predict(dict.fromkeys(encoders, batch)) for batch in batches]
    meeting, found = threading.Barrier(2, timeout=60), {}
    block = together.models['detect'].backbone.encoder.blocks[0].mlp
    block.register_forward_hook(lambda *_: (meeting.wait(), None)[1])

    def serve(index: int) -> None:
        found[index] = together.predict(dict.fromkeys(encoders, batches[index]))

    threads = [threading.Thread(target=serve, args=(index,)) for index in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for index, own in enumerate(expected):
        assert all(torch.equal(found[index][name], maps) for name, maps in own.items())
