"""A resume with other settings goes on as if they had been set so from the start."""

from __future__ import annotations

import copy

import pytest
import torch
from mmengine.optim import OptimWrapper, OptimWrapperDict
from test_resume import assert_same_run, train
from torch import nn

from tests.training.toys import LossRecorder, TinyModel, build_runner, evaluation
from vitadapter_dense.checkpoints.checked_loading import WeightsError, read_checkpoint
from vitadapter_dense.training.accumulation import begun_steps, continue_steps
from vitadapter_dense.training.optimizer_state import check_optimizer, load_moments, name_parameters

WARM_UP = dict(type='LinearLR', start_factor=0.1, by_epoch=False, begin=0, end=5)
OLD = [WARM_UP, dict(type='PolyLR', power=1.0, by_epoch=False, begin=0, end=12)]
SGD = dict(optimizer=dict(type='SGD', lr=0.03, momentum=0.9, weight_decay=0.1))


class OptionRecorder(LossRecorder):
    """Keeps what every optimiser step reads of the groups."""

    priority = 'VERY_HIGH'
    keys = ('lr', 'momentum', 'betas', 'weight_decay', 'eps')

    def before_train_iter(self, runner, batch_idx, data_batch=None) -> None:
        super().before_train_iter(runner, batch_idx, data_batch)
        self.losses[runner.iter] = [
            {key: group[key] for key in self.keys if key in group}
            for group in runner.optim_wrapper.param_groups
        ]

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None) -> None:
        """The options are all that is kept."""


def options_by_iteration(work_dir, **options) -> dict[int, list[dict]]:
    recorder = OptionRecorder()
    build_runner(work_dir, recorder=recorder, **options).train()
    return recorder.losses


# ------------------------------------------------------------------- schedules


@pytest.fixture(scope='module')
def interrupted(tmp_path_factory):
    """Checkpoints of a short run by epochs, within the third one, and of one by iterations."""
    folder = tmp_path_factory.mktemp('interrupted')
    for by_epoch in (True, False):
        options = dict(by_epoch=by_epoch, checkpoint=dict(by_epoch=False, interval=6))
        length = 3 if by_epoch else 8
        build_runner(folder / str(by_epoch), length=length, param_scheduler=OLD, **options).train()
    return folder


SCHEDULES = dict(
    linear=[dict(type='LinearLR', start_factor=0.5, end=4)],
    constant=[dict(type='ConstantLR', factor=0.3, end=3)],
    poly=[dict(type='PolyLR', power=0.9, eta_min=1e-3)],
    step=[dict(type='StepLR', step_size=2, gamma=0.5)],
    milestones=[dict(type='MultiStepLR', milestones=[1, 3], gamma=0.5)],
    exponential=[dict(type='ExponentialLR', gamma=0.9)],
    cosine=[dict(type='CosineAnnealingLR', eta_min=1e-3)],
    waves=[dict(type='CosineAnnealingLR', T_max=2, eta_min_ratio=0.1)],
    restarts=[dict(type='CosineRestartLR', periods=[2, 6], restart_weights=[1, 0.5], eta_min=1e-4)],
    one_cycle=[dict(type='OneCycleLR', eta_max=0.1)],
    momentum=[WARM_UP, dict(type='CosineAnnealingMomentum', eta_min=0.5)],
    warm_up=[WARM_UP, dict(type='PolyLR', eta_min=1e-3, begin=1)],
    none=[],
)


@pytest.mark.parametrize('by', ['epochs', 'epochs as iterations', 'iterations'])
@pytest.mark.parametrize(
    'schedule',
    [
        pytest.param(schedule, id=name, marks=[] if name == 'warm_up' else pytest.mark.slow)
        for name, schedule in SCHEDULES.items()
    ],
)
def test_rates_are_those_of_a_new_run(interrupted, tmp_path, schedule, by):
    schedule = copy.deepcopy(schedule)
    for scheduler in schedule:
        if by == 'epochs as iterations' and scheduler.get('by_epoch', True):
            scheduler['convert_to_iter_based'] = True
        scheduler.setdefault('by_epoch', by != 'iterations')
    by_epoch = by != 'iterations'
    options = dict(
        by_epoch=by_epoch,
        length=4 if by_epoch else 16,
        param_scheduler=schedule,
        checkpoint=dict(interval=-1, save_last=False),
        optim_wrapper=dict(
            optimizer=dict(type='AdamW', lr=0.05, weight_decay=0.3, betas=(0.8, 0.99), eps=1e-5),
            paramwise_cfg=dict(bias_lr_mult=2.0),
        ),
    )
    new = options_by_iteration(tmp_path / 'new', **options)
    resumed = options_by_iteration(
        tmp_path / 'resumed',
        resume=True,
        load_from=str(interrupted / str(by_epoch) / 'iter_6.pth'),
        **options,
    )
    assert len(new) == 16
    assert resumed == {number: groups for number, groups in new.items() if number >= 6}


@pytest.mark.slow
def test_a_checkpoint_without_schedules_resumes_at_the_rate_of_its_step(tmp_path):
    options = dict(checkpoint=dict(save_param_scheduler=False))
    whole = train(tmp_path / 'whole', **options)
    train(tmp_path / 'cut', stop_before=9, **options)
    assert_same_run(whole, train(tmp_path / 'cut', resume=True, **options), first=8)


@pytest.mark.slow
def test_a_measured_schedule_goes_on_from_what_it_has_measured(tmp_path):
    plateau = dict(type='ReduceOnPlateauLR', monitor='score', rule='greater', patience=0)
    options = dict(param_scheduler=[plateau])
    whole = options_by_iteration(tmp_path, length=4, **options, **evaluation([0.5, 0.4, 0.3, 0.2]))
    later = dict(options, resume=True, load_from=str(tmp_path / 'epoch_3.pth'), length=5)
    resumed = options_by_iteration(tmp_path / 'longer', **later, **evaluation([0.2, 0.1]))
    # Epoch 3 was saved before its evaluation, which is not repeated.
    assert whole[12][0]['lr'] < resumed[12][0]['lr'] == whole[11][0]['lr'] < whole[0][0]['lr']
    assert resumed[16][0]['lr'] == pytest.approx(0.1 * resumed[12][0]['lr'])
    other = dict(later, optim_wrapper=dict(optimizer=dict(type='AdamW', lr=0.1)))
    with pytest.raises(WeightsError, match=r'ReduceOnPlateau cannot be resumed with others'):
        build_runner(tmp_path / 'other', **other, **evaluation([0.2])).train()


@pytest.mark.slow
def test_patience_goes_on(tmp_path):
    stopping = dict(type='EarlyStoppingHook', monitor='score', rule='greater', patience=3)
    options = dict(hooks=[stopping], checkpoint=dict(save_best='score', rule='greater'))
    train(tmp_path, length=4, **options, **evaluation([0.1, 0.9, 0.2, 0.3]))
    # Evaluations 3 and 4 were no better; 3 is in the last checkpoint, which came before 4.
    losses, _ = train(tmp_path, length=9, resume=True, **options, **evaluation([0.4, 0.5, 0.6]))
    assert sorted(losses) == list(range(16, 24))


# ------------------------------------------------------------------- optimiser


def trained_optimizer(model: nn.Module, **options) -> OptimWrapper:
    wrapper = OptimWrapper(torch.optim.AdamW(model.parameters(), **options))
    name_parameters(wrapper, model)
    for _ in range(3):
        wrapper.update_params(model(torch.randn(4, 6), torch.ones(4))['loss'])
    return wrapper


def test_moments_find_their_parameters_in_other_groups():
    model = TinyModel()
    saved = trained_optimizer(model, lr=0.1, betas=(0.5, 0.5))
    heads = list(model.head.parameters())
    rest = list(model.backbone.parameters())
    built = OptimWrapper(
        torch.optim.AdamW([dict(params=heads, lr=0.7), dict(params=rest, weight_decay=0.2)], lr=0.3)
    )
    name_parameters(built, model)
    load_moments(built, saved.state_dict(), 'old.pth')
    for parameter in model.parameters():
        for key, value in saved.optimizer.state[parameter].items():
            assert torch.equal(built.optimizer.state[parameter][key], value)
    options = [(g['lr'], g['weight_decay'], g['betas']) for g in built.optimizer.param_groups]
    assert options == [(0.7, 0.01, (0.9, 0.999)), (0.3, 0.2, (0.9, 0.999))]


def test_several_optimisers_keep_their_own_moments():
    models = dict(a=TinyModel(), b=TinyModel())
    whole = nn.ModuleDict(models)
    saved = OptimWrapperDict(**{k: trained_optimizer(m, lr=0.1) for k, m in models.items()})
    built = OptimWrapperDict(
        **{k: OptimWrapper(torch.optim.AdamW(m.parameters(), lr=0.2)) for k, m in models.items()}
    )
    for wrappers in (saved, built):
        name_parameters(wrappers, whole)
    load_moments(built, saved.state_dict(), 'old.pth')
    for name, model in models.items():
        for parameter in model.parameters():
            old, new = (w[name].optimizer.state[parameter] for w in (saved, built))
            assert torch.equal(old['exp_avg'], new['exp_avg'])
    assert {group['lr'] for wrapper in built.values() for group in wrapper.param_groups} == {0.2}


def test_other_groups_without_names_are_refused():
    model = TinyModel()
    state = trained_optimizer(model, lr=0.1).state_dict()
    for group in state['param_groups']:
        del group['param_names']
    built = OptimWrapper(torch.optim.AdamW([dict(params=[p]) for p in model.parameters()]))
    with pytest.raises(WeightsError, match=r'1 groups with 6 tensors, this config makes 6 with 6'):
        check_optimizer(built, state, 'old.pth')


def test_loss_scaling_keeps_its_scale_and_takes_the_new_settings():
    def scaled(**options) -> OptimWrapper:
        wrapper = OptimWrapper(torch.optim.SGD([nn.Parameter(torch.ones(2))], lr=0.1))
        wrapper.loss_scaler = torch.amp.GradScaler('cpu', **options)
        wrapper.load_state_dict = lambda state: wrapper.loss_scaler.load_state_dict(
            state.pop('loss_scaler')
        )
        return wrapper

    old, new = scaled(init_scale=64.0), scaled(init_scale=512.0, growth_interval=5)
    state = old.optimizer.state_dict() | dict(loss_scaler=old.loss_scaler.state_dict())
    load_moments(new, state, 'old.pth')
    scaler = new.loss_scaler.state_dict()
    assert (scaler['scale'], scaler['growth_interval']) == (64.0, 5)


def test_the_scaled_rate_counts_accumulated_batches(tmp_path):
    (first, *_), *_ = options_by_iteration(
        tmp_path,
        length=1,
        param_scheduler=[],
        optim_wrapper=dict(accumulative_counts=4, paramwise_cfg=dict(bias_lr_mult=2.0)),
        auto_scale_lr=dict(enable=True, base_batch_size=24),
    ).values()
    assert first['lr'] in (0.01 * 3 * 4 / 24, 0.02 * 3 * 4 / 24)


# ---------------------------------------------------------------- accumulation


@pytest.mark.parametrize(
    ('options', 'stop', 'first'),
    [
        pytest.param(
            dict(by_epoch=False, length=8, checkpoint=dict(interval=3)), 5, 3, id='iterations'
        ),
        pytest.param(dict(length=3), 6, 4, id='between epochs'),
    ],
)
def test_a_begun_step_is_finished_after_a_resume(tmp_path, options, stop, first):
    options = dict(options, optim_wrapper=dict(accumulative_counts=3 if stop == 6 else 2))
    whole = train(tmp_path / 'whole', **options)
    train(tmp_path / 'cut', stop_before=stop, **options)
    assert_same_run(whole, train(tmp_path / 'cut', resume=True, **options), first=first)


def test_a_begun_step_of_each_of_several_optimisers_is_kept():
    model = TinyModel()

    def wrapped() -> OptimWrapperDict:
        parts = dict(one=(model.backbone, 2), two=(model.head, 3))
        return OptimWrapperDict(
            **{
                key: OptimWrapper(torch.optim.SGD(part.parameters(), lr=0.1), count)
                for key, (part, count) in parts.items()
            }
        )

    wrappers = wrapped()
    for wrapper in wrappers.values():
        for _ in range(4):
            wrapper.update_params(model(torch.randn(4, 6), torch.ones(4))['loss'])
    # Each backward pass reaches both; what is left is 0 of 2 batches of one, 1 of 3 of the other.
    model.head.bias.grad = None  # as if nothing used it: no weight decay then
    gradients = dict(weight=model.head.weight.grad.clone())
    begun = begun_steps(wrappers, model)
    assert set(begun) == {'two'}
    model.zero_grad()
    again = wrapped()
    continue_steps(again, model, begun)
    assert again['two'].inner_count == 4
    assert torch.equal(model.head.weight.grad, gradients['weight'])
    assert model.head.bias.grad is None


# ------------------------------------------------------------ what stops a run


def test_changed_settings_stop_with_both_values_unless_accepted(tmp_path, capfd):
    old = dict(randomness=dict(seed=7), train_dataloader=dict(batch_size=3, num_workers=0))
    new = dict(randomness=dict(seed=7), train_dataloader=dict(batch_size=4, num_workers=2))
    build_runner(tmp_path, length=1, cfg=old).train()
    with pytest.raises(WeightsError, match='batch_size: 3 in the checkpoint, 4 now') as error:
        build_runner(tmp_path, length=2, cfg=new, resume=True).train()
    assert 'num_workers' not in str(error.value)
    losses, _ = train(tmp_path, length=2, cfg=dict(new, accept_changes=True), resume=True)
    assert sorted(losses) == [4, 5, 6, 7]
    assert 'batch_size: 3 in the checkpoint, 4 now' in capfd.readouterr().out


def test_other_processes_are_other_images_a_step(tmp_path):
    build_runner(tmp_path, length=1).train()
    path = tmp_path / 'epoch_1.pth'
    checkpoint = read_checkpoint(path)
    checkpoint['random_state']['processes'] *= 4
    torch.save(checkpoint, path)
    with pytest.raises(WeightsError, match='number of processes: 4 in the checkpoint, 1 now'):
        build_runner(tmp_path, length=2, resume=True).train()


@pytest.mark.slow
def test_an_accepted_seed_and_optimiser_are_those_of_the_config(tmp_path):
    train(tmp_path, length=1)
    options = dict(length=2, resume=True, cfg=dict(accept_changes=True))
    same, _ = train(tmp_path, **options)
    other, _ = train(tmp_path, seed=8, load_from=str(tmp_path / 'epoch_1.pth'), **options)
    assert sorted(same) == sorted(other) == [4, 5, 6, 7]
    assert same[4] != other[4]


def test_a_checkpoint_behind_the_end_of_the_run_is_refused(tmp_path):
    train(tmp_path, length=3)
    with pytest.raises(WeightsError, match=r'after epoch 3, and this run ends at 2.*max_epochs'):
        build_runner(tmp_path, length=2, resume=True).train()
    assert train(tmp_path, length=3, resume=True)[0] == {}


@pytest.mark.slow
def test_a_run_by_iterations_goes_on_by_epochs(tmp_path):
    train(tmp_path, by_epoch=False, length=6)
    options = dict(length=2, resume=True, cfg=dict(accept_changes=True))
    assert sorted(train(tmp_path, **options)[0]) == [6, 7]  # an epoch has 4


@pytest.mark.slow
def test_an_average_can_end_and_the_best_of_another_folder_stays(tmp_path):
    """Under ``EMAHook`` a checkpoint's ``state_dict`` is the average, not what is trained."""
    whole = train(tmp_path / 'whole', length=3)
    best = dict(save_best='score', rule='greater')
    averaged = dict(length=2, hooks=[dict(type='EMAHook')], checkpoint=best)
    train(tmp_path / 'averaged', **averaged, **evaluation([0.1, 0.2]))
    assert read_checkpoint(tmp_path / 'averaged/epoch_2.pth')['ema_state_dict']
    resumed = train(
        tmp_path / 'resumed',
        length=3,
        resume=True,
        load_from=str(tmp_path / 'averaged/epoch_2.pth'),
        checkpoint=best,
        **evaluation([0.3]),
    )
    assert_same_run(whole, resumed, first=8)
    for folder, epoch in (('averaged', 2), ('resumed', 3)):
        assert (tmp_path / folder / f'best_score_epoch_{epoch}.pth').is_file()
