"""A resumed run repeats an uninterrupted one, bit for bit."""

from __future__ import annotations

import pickle
import random

import numpy as np
import pytest
import torch
from torch.utils.data import BatchSampler

from tests.training.toys import LossRecorder, NoisyPoints, TinyModel, build_runner, evaluation
from vitadapter_dense.checkpoints.checked_loading import WeightsError, read_checkpoint
from vitadapter_dense.training import ResumableEpochLoop
from vitadapter_dense.training.seeded_data import (
    SampleIndex,
    SeededBatchSampler,
    SeededDataset,
    seeded_dataloader,
)


def train(work_dir, *, stop_before=None, **options):
    """Runs to the end, or until `stop_before`; returns the losses by iteration and the weights."""
    recorder = LossRecorder(stop_before)
    runner = build_runner(work_dir, recorder=recorder, **options)
    try:
        runner.train()
    except InterruptedError:
        assert stop_before == runner.iter
    else:
        assert stop_before is None
    # Workers that a later run's workers inherit keep each other waiting at their end.
    runner.train_loop.dataloader._iterator = None
    if not isinstance(runner.train_loop, ResumableEpochLoop):
        runner.train_loop.dataloader_iterator = None
    return recorder.losses, runner.model.state_dict()


def assert_same_run(whole, resumed, *, first: int) -> None:
    losses, weights = whole
    resumed_losses, resumed_weights = resumed
    assert resumed_losses == {i: loss for i, loss in losses.items() if i >= first}
    for name, tensor in weights.items():
        assert torch.equal(tensor, resumed_weights[name]), name


@pytest.mark.parametrize('workers', [0, 2])
@pytest.mark.parametrize(
    ('by_epoch', 'length', 'interval', 'stop', 'first'),
    [
        pytest.param(True, 4, 1, 9, 8, id='between epochs'),
        pytest.param(False, 11, 4, 10, 8, id='within a pass of iterations'),
    ],
)
def test_resume_repeats_the_run(tmp_path, workers, by_epoch, length, interval, stop, first):
    options = dict(
        by_epoch=by_epoch, length=length, workers=workers, checkpoint=dict(interval=interval)
    )
    whole = train(tmp_path / 'whole', **options)
    train(tmp_path / 'cut', stop_before=stop, **options)
    resumed = train(tmp_path / 'cut', resume=True, **options)
    assert len(whole[0]) == (length * 4 if by_epoch else length)
    assert_same_run(whole, resumed, first=first)


@pytest.mark.parametrize(
    'extra',
    [
        {},
        dict(optim_wrapper=dict(paramwise_cfg=dict(bias_lr_mult=2.0))),
        dict(hooks=[dict(type='EMAHook')]),
    ],
    ids=['plain', 'several parameter groups', 'moving average'],
)
def test_resume_within_an_epoch(tmp_path, extra):
    options = dict(length=3, checkpoint=dict(by_epoch=False, interval=3), **extra)
    whole = train(tmp_path / 'whole', **options)
    train(tmp_path / 'cut', stop_before=7, **options)
    resumed = train(tmp_path / 'cut', resume=True, **options)
    assert_same_run(whole, resumed, first=6)  # batch 2 of epoch 2


def test_resume_after_the_last_batch_of_an_epoch_runs_its_hooks(tmp_path):
    options = dict(length=3, checkpoint=dict(by_epoch=False, interval=4))
    whole = train(tmp_path / 'whole', **options)
    train(tmp_path / 'cut', stop_before=5, **options)
    # The scheduler steps after the epoch, later than the checkpoint was taken.
    assert_same_run(whole, train(tmp_path / 'cut', resume=True, **options), first=4)


def test_evaluation_leaves_the_run_alone(tmp_path):
    options = dict(length=3)
    whole = train(tmp_path / 'whole', **options)
    evaluated = train(
        tmp_path / 'evaluated',
        **options,
        checkpoint=dict(save_best='score', rule='greater'),
        **evaluation([0.1, 0.3, 0.2]),
    )
    assert_same_run(whole, evaluated, first=0)
    # The checkpoint of epoch 2 was written again during evaluation, to record the best one.
    resumed = train(
        tmp_path / 'resumed',
        load_from=str(tmp_path / 'evaluated/epoch_2.pth'),
        resume=True,
        length=3,
    )
    assert_same_run(whole, resumed, first=8)


def test_the_run_does_not_depend_on_the_number_of_workers(tmp_path):
    alone = train(tmp_path / 'alone', length=2, workers=0)
    with_workers = train(tmp_path / 'workers', length=2, workers=1)
    assert_same_run(alone, with_workers, first=0)


def test_resume_without_a_configured_seed(tmp_path):
    options = dict(length=3, seed=None)
    recorder = LossRecorder()
    runner = build_runner(tmp_path / 'whole', recorder=recorder, **options)
    runner.train()
    resumed = train(
        tmp_path / 'resumed', load_from=str(tmp_path / 'whole/epoch_2.pth'), resume=True, **options
    )
    assert_same_run((recorder.losses, runner.model.state_dict()), resumed, first=8)


def test_other_seeds_and_epochs_give_other_samples():
    def samples(seed, epoch):
        loader = torch.utils.data.DataLoader(NoisyPoints(4), batch_size=2)
        loader = seeded_dataloader(loader, seed=seed, endless=False)
        loader.batch_sampler.begin(epoch=epoch)
        return torch.cat([batch['inputs'] for batch in loader])

    assert torch.equal(samples(0, 0), samples(0, 0))
    assert not torch.equal(samples(0, 0), samples(0, 1))
    assert not torch.equal(samples(0, 0), samples(1, 0))


@pytest.mark.parametrize('start', [0, 3, 7, 100])
def test_skipping_equals_iterating_and_loads_nothing(start):
    dataset = NoisyPoints(10)

    def stream():
        batches = BatchSampler(torch.utils.data.SequentialSampler(dataset), 3, drop_last=False)
        return SeededBatchSampler(batches, seed=0, rank=0, endless=True)

    whole = iter(stream())
    expected = [next(whole) for _ in range(start + 5)][start:]
    skipping = stream()
    skipping.begin(skip=start)
    skipped = iter(skipping)
    assert [next(skipped) for _ in range(5)] == expected
    assert dataset.loaded == []


def test_iteration_based_resume_loads_only_what_it_trains_on(tmp_path):
    options = dict(by_epoch=False, length=12, checkpoint=dict(interval=10))
    train(tmp_path, stop_before=11, **options)
    runner = build_runner(tmp_path, resume=True, **options)
    runner.train()
    assert len(runner.train_dataloader.dataset.loaded) == 2 * 3


@pytest.mark.slow  # importing mmdet alone takes seconds
def test_resume_with_batches_by_aspect_ratio(tmp_path):
    samplers = pytest.importorskip('mmdet.datasets.samplers')
    for by_epoch in (True, False):
        options = dict(
            by_epoch=by_epoch,
            length=3 if by_epoch else 12,
            checkpoint=dict(by_epoch=False, interval=5),
            train_dataloader=dict(batch_sampler=dict(type=samplers.AspectRatioBatchSampler)),
        )
        whole = train(tmp_path / f'whole{by_epoch}', **options)
        train(tmp_path / f'cut{by_epoch}', stop_before=7, **options)
        resumed = train(tmp_path / f'cut{by_epoch}', resume=True, **options)
        assert_same_run(whole, resumed, first=5)


def test_changed_epoch_length_restarts_the_epoch_with_a_warning(tmp_path, capfd):
    checkpoint = dict(by_epoch=False, interval=3)
    train(tmp_path, stop_before=7, length=3, checkpoint=checkpoint)
    losses, _ = train(
        tmp_path,
        resume=True,
        length=2,
        checkpoint=checkpoint,
        train_dataloader=dict(batch_size=5),
        cfg=dict(accept_changes=True),
    )
    assert 'epoch 2 starts over' in capfd.readouterr().out
    assert len(losses) == 2


def test_a_checkpoint_holds_plain_data_only(tmp_path):
    train(tmp_path, length=1)
    with torch.serialization.safe_globals([]):
        checkpoint = torch.load(tmp_path / 'epoch_1.pth', weights_only=True)
    assert not torch.serialization.get_unsafe_globals_in_checkpoint(tmp_path / 'epoch_1.pth')
    assert checkpoint['meta']['dataset_meta']['palette'] == [[0, 1, 2], [3, 4, 5]]
    assert checkpoint['message_hub']['log_scalars']['train/loss']['log_history'].numel() == 4


def test_scalars_are_resumed(tmp_path):
    train(tmp_path, length=2)
    runner = build_runner(tmp_path, length=3, resume=True)
    runner.train()
    assert len(runner.message_hub.get_scalar('train/loss').data[0]) == 12


def test_resume_without_any_checkpoint_starts_from_the_beginning(tmp_path):
    losses, _ = train(tmp_path, length=1, resume=True)
    assert sorted(losses) == [0, 1, 2, 3]


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (dict(model=TinyModel(width=9)), 'is of another model'),
        (dict(optim_wrapper=dict(optimizer=dict(type='SGD', lr=0.01))), 'another optimiser'),
        (dict(train_dataloader=dict(batch_size=5)), 'batches an epoch: 4 in the .*, 2 now'),
        (dict(seed=8), 'randomness.seed: 7 in the checkpoint, 8 now'),
    ],
)
def test_a_resume_that_does_not_fit_changes_nothing(tmp_path, options, message):
    train(tmp_path, length=1)
    runner = build_runner(tmp_path, resume=True, **options)
    before = []

    class Before(LossRecorder):
        priority = 'LOWEST'

        def before_run(self, runner) -> None:
            runner._init_model_weights()
            before.append({key: value.clone() for key, value in runner.model.state_dict().items()})
            runner._init_model_weights = lambda: None

    runner.register_hook(Before())
    with pytest.raises(WeightsError, match=message):
        runner.train()
    for name, tensor in runner.model.state_dict().items():
        assert torch.equal(tensor, before[0][name])
    assert (runner.epoch, runner.iter) == (0, 0)
    assert 'train/loss' not in runner.message_hub.log_scalars


def test_a_checkpoint_of_mmengines_runner_resumes(tmp_path, capfd):
    """Without random state, and with its message hub of history buffers."""
    runner = build_runner(tmp_path, length=1)
    runner.train()
    path = tmp_path / 'epoch_1.pth'
    checkpoint = read_checkpoint(path)
    del checkpoint['random_state']
    checkpoint['message_hub'] = runner.message_hub.state_dict()
    torch.save(checkpoint, path)
    losses, _ = train(tmp_path, length=2, resume=True)
    assert sorted(losses) == [4, 5, 6, 7]
    assert 'holds no random state' in capfd.readouterr().out


def test_the_seeding_dataset_hands_attributes_through():
    """Hooks that switch the pipeline write to the loader's dataset, spawned workers unpickle it."""
    dataset = SeededDataset(NoisyPoints(4))
    dataset.pipeline = 'another'
    assert dataset.dataset.pipeline == 'another'
    copied = pickle.loads(pickle.dumps(dataset))
    assert (copied.pipeline, len(copied), copied.metainfo['classes']) == ('another', 4, ('a', 'b'))
    assert torch.equal(dataset[SampleIndex(1, 5)]['inputs'], copied[SampleIndex(1, 5)]['inputs'])


def test_loading_a_sample_leaves_the_generators_alone():
    dataset = SeededDataset(NoisyPoints(4))
    before = (random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state())
    dataset[SampleIndex(0, 3)]
    assert random.getstate() == before[0]
    assert np.random.get_state()[1].tolist() == before[1]
    assert torch.equal(torch.get_rng_state(), before[2])


def test_a_wrong_model_is_reported(tmp_path):
    train(tmp_path, length=1)
    with pytest.raises(
        WeightsError, match=r'backbone\.0\.weight \(file \(8, 6\), model \(9, 6\)\)'
    ):
        build_runner(tmp_path, resume=True, model=TinyModel(width=9)).train()


def test_weights_alone_cannot_be_resumed(tmp_path):
    path = tmp_path / 'weights.pth'
    torch.save(TinyModel().state_dict(), path)
    with pytest.raises(WeightsError, match='use load_from without resume'):
        build_runner(tmp_path, resume=True, load_from=str(path)).train()


def test_the_process_state_is_that_of_the_checkpoint(tmp_path):
    train(tmp_path, length=1)
    saved = read_checkpoint(tmp_path / 'epoch_1.pth')['random_state']
    assert len(saved['processes']) == 1
    assert set(saved['processes'][0]) >= {'python', 'numpy', 'torch'}
    assert saved['data']['batch'] == 0
    assert saved['data']['batches_per_epoch'] == 4
