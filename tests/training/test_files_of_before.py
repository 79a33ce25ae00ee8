"""Files that version 0.1 wrote, when its modules had other names, are read as they were then."""

from __future__ import annotations

from pathlib import Path

import torch

from tests.training.toys import build_runner
from tests.tuning.test_delta import METHODS, TunedModel, scores
from vitadapter_dense.checkpoints import load_checked, read_checkpoint
from vitadapter_dense.tuning.delta import complete_state_dict

FILES = Path(__file__).parents[1] / 'data' / 'written_by_0.1'


def test_a_run_goes_on_from_its_checkpoint(tmp_path):
    """Its own third epoch is what the third epoch gives now."""
    runner = build_runner(tmp_path, length=3, load_from=str(FILES / 'epoch_2.pth'), resume=True)
    runner.train()
    expected = read_checkpoint(FILES / 'epoch_3.pth')['state_dict']
    found = runner.bare_model.state_dict()
    assert found.keys() == expected.keys()
    for name, tensor in expected.items():
        torch.testing.assert_close(found[name], tensor, rtol=1e-5, atol=1e-6)


def test_a_delta_completes_its_base():
    path = FILES / 'tuned_epoch_2.pth'
    model = TunedModel(METHODS['lora'], str(FILES / 'trunk1.pth'))
    load_checked(model, complete_state_dict(model, read_checkpoint(path), path), min_share=1.0)
    expected = torch.tensor([0.2732, 0.4068, 0.9324, 1.2014])
    torch.testing.assert_close(scores(model), expected, rtol=1e-4, atol=1e-4)
