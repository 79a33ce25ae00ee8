"""Mixed precision on the CPU: bfloat16 trains, accumulates, clips and resumes."""

from __future__ import annotations

import pytest
import torch
from mmengine.optim import build_optim_wrapper
from torch import nn

from tests.training.toys import LossRecorder, TinyModel, build_runner
from vitadapter_dense.training import AutocastOptimWrapper

BFLOAT16 = dict(type='AutocastOptimWrapper', dtype='bfloat16')


def wrap(model, **options):
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    return AutocastOptimWrapper(optimizer=optimizer, **options)


@pytest.mark.skipif(torch.cuda.is_available(), reason='takes float16 on a GPU')
@pytest.mark.parametrize('supported', [False, True])
def test_a_cpu_without_bfloat16_computes_in_float32_unless_told(supported, monkeypatch):
    """There a convolution of UperNet took 68 s instead of 0.5 s."""
    monkeypatch.setattr('vitadapter_dense.training.amp.computes_bfloat16', lambda: supported)
    model = nn.Linear(4, 2)
    for dtype in (None, 'bfloat16'):
        wrapper = wrap(model, dtype=dtype)
        with wrapper.optim_context(model):
            output = model(torch.randn(3, 4))
        assert (output.dtype == torch.bfloat16) == (supported or dtype is not None)
        wrapper.update_params(output.float().square().mean())


def test_layers_compute_in_bfloat16_and_parameters_stay_float32():
    torch.manual_seed(0)
    model = nn.Linear(4, 2)
    wrapper = wrap(model, dtype='bfloat16')
    with wrapper.optim_context(model):
        output = model(torch.randn(3, 4))
    before = model.weight.detach().clone()
    wrapper.update_params(output.float().square().mean())
    assert output.dtype == torch.bfloat16
    assert model.weight.dtype == torch.float32
    assert not torch.equal(model.weight, before)


def test_gradients_are_clipped_and_accumulated():
    model = nn.Linear(4, 2)
    wrapper = wrap(model, accumulative_counts=2, clip_grad=dict(max_norm=1e-3))
    before = model.weight.detach().clone()
    for number in range(2):
        with wrapper.optim_context(model):
            loss = model(torch.randn(3, 4)).float().square().sum()
        wrapper.update_params(loss)
        assert torch.equal(model.weight, before) == (number == 0)
    step = torch.cat([(model.weight - before).flatten()])
    assert step.norm() <= 0.1 * 1e-3 * (1 + 1e-4)


def test_a_resumed_run_repeats_the_run(tmp_path):
    options = dict(length=2, optim_wrapper=BFLOAT16)
    losses = []
    for folder, stop, resume in (('whole', None, False), ('cut', 5, False), ('cut', None, True)):
        recorder = LossRecorder(stop)
        runner = build_runner(tmp_path / folder, recorder=recorder, resume=resume, **options)
        if stop:
            with pytest.raises(InterruptedError):
                runner.train()
        else:
            runner.train()
        losses.append(recorder.losses)
    assert losses[2] == {i: loss for i, loss in losses[0].items() if i >= 4}


def test_the_state_goes_to_and_from_a_full_precision_run():
    model = nn.Linear(4, 2)
    mixed = wrap(model)
    mixed.update_params(model(torch.ones(1, 4)).sum())
    plain = build_optim_wrapper(
        model, dict(type='OptimWrapper', optimizer=dict(type='SGD', lr=0.2, momentum=0.9))
    )
    plain.load_state_dict(mixed.state_dict())
    again = wrap(model)
    again.load_state_dict(plain.state_dict())
    for parameter in model.parameters():
        assert torch.equal(
            again.optimizer.state[parameter]['momentum_buffer'],
            mixed.optimizer.state[parameter]['momentum_buffer'],
        )
    # A scaler's state of a float16 run is of no use here, and no hindrance.
    again.load_state_dict({**plain.state_dict(), 'loss_scaler': dict(scale=512.0)})


@pytest.mark.skipif(torch.cuda.is_available(), reason='float16 is refused on the CPU only')
def test_float16_on_the_cpu_names_bfloat16():
    with pytest.raises(ValueError, match="on the CPU use dtype='bfloat16'"):
        wrap(TinyModel(), dtype='float16')


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (dict(dtype='float32'), "dtype='float32' is no mixed precision"),
        (dict(loss_scale='static'), "loss_scale='static'; expected"),
    ],
)
def test_wrong_settings_are_named(options, message):
    with pytest.raises(ValueError, match=message):
        wrap(nn.Linear(2, 2), **options)


@pytest.mark.cuda
def test_float16_on_the_gpu_scales_the_loss_and_keeps_the_scale():
    model = nn.Linear(4, 2).cuda()
    wrapper = wrap(model, dtype='float16', loss_scale=dict(init_scale=512.0))
    with wrapper.optim_context(model):
        output = model(torch.randn(3, 4, device='cuda'))
    assert output.dtype == torch.float16
    before = model.weight.detach().clone()
    wrapper.update_params(output.float().square().mean())
    assert not torch.equal(model.weight, before)
    again = wrap(model, dtype='float16')
    again.load_state_dict(wrapper.state_dict())
    assert again.loss_scaler.get_scale() == 512.0
