"""Several tasks on one frozen backbone: the same predictions, tensors stored and run once."""

from __future__ import annotations

import copy

import pytest

pytest.importorskip('mmcv.ops', reason='needs the compiled ops of mmcv')

import torch
from mmengine.model import BaseModel
from torch import Tensor, nn
from tuning_toys import METHODS, build, images

from vitadapter_dense.engine.multi_task import MultiTaskModel


class Task(BaseModel):
    """A tuned backbone and a head."""

    def __init__(self, method: str, seed: int, backbone: str = 'resnet') -> None:
        super().__init__()
        self.backbone = build(backbone, METHODS[method])
        torch.manual_seed(seed)
        self.head = nn.LazyConv2d(3, kernel_size=1)
        with torch.no_grad():
            self.head(self.backbone.eval()(images())[-1])
            for parameter in self.backbone.tuning.parameters():
                parameter.add_(0.1 * torch.randn_like(parameter))

    def forward(self, inputs: Tensor, mode: str = 'tensor') -> Tensor:
        return self.head(self.backbone(inputs)[-1])


@pytest.mark.parametrize(
    ('one', 'other', 'runs'), [('head_only', 'side', 1), ('lora', 'pro', 0), ('bias', 'side', 0)]
)
def test_shares_memory_and_where_it_can_the_pass(one, other, runs):
    models = dict(detect=Task(one, 1), segment=Task(other, 2))
    models['segment'].backbone.load_state_dict(
        {k: v for k, v in models['detect'].backbone.state_dict().items() if 'tuning' not in k},
        strict=False,
    )
    alone = copy.deepcopy(models)
    together = MultiTaskModel(models)
    batch = dict(inputs=images())
    for _ in range(2):
        found = together.predict(dict(detect=batch, segment=batch))
        with torch.no_grad():
            for name, model in alone.items():
                torch.testing.assert_close(found[name], model.eval().test_step(batch))
    assert together.trunk.runs == runs
    stored = {p.data_ptr() for p in together.parameters()}
    assert len(stored) < sum(1 for m in alone.values() for _ in m.parameters())
    if runs:
        together.predict(dict(detect=dict(inputs=images() + 1)))
        assert together.trunk.runs == runs + 1


def test_other_base_weights_are_refused():
    models = dict(a=Task('lora', 1), b=Task('lora', 2))
    with torch.no_grad():
        models['b'].backbone.conv1.weight.add_(1)
    with pytest.raises(ValueError, match=r"'backbone.conv1.weight' of the models 'a' and 'b'"):
        MultiTaskModel(models)
    with pytest.raises(ValueError, match="'b' has no tuned backbone"):
        MultiTaskModel(dict(a=models['a'], b=nn.Linear(2, 2)))
