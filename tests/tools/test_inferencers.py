"""The toolboxes' own inferencers take our configurations, by way of `inferencer_config`."""

from __future__ import annotations

import torch
from mmengine.config import Config
from tiny_detection import TinyTask

from vitadapter_dense.inference.predictor import Predictor, inferencer_config


def test_det_inferencer_predicts_what_ours_does(tiny_task: TinyTask) -> None:
    from mmdet.apis import DetInferencer

    cfg = Config.fromfile(tiny_task.config)
    checkpoint, image = tiny_task.work_dir / 'epoch_2.pth', tiny_task.data / 'val' / 'val_0.jpg'
    predictor = Predictor(cfg, checkpoint)
    ours = predictor.predict(predictor.prepare(image)).pred_instances

    options = dict(device='cpu', show_progress=False)
    inferencer = DetInferencer(inferencer_config(cfg), str(checkpoint), **options)
    found = inferencer(str(image), return_datasamples=True)['predictions'][0].pred_instances
    torch.testing.assert_close(found.bboxes, ours.bboxes)
    torch.testing.assert_close(found.scores, ours.scores)
    assert torch.equal(found.masks, ours.masks)
    assert cfg.test_dataloader.dataset.pipeline[0].type == 'LoadImageChecked'
