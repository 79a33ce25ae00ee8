"""Predictions on single images with the model of any configuration, of both toolboxes.

The toolboxes have an inferencer each, with interfaces of their own and loading that lets a bad
match pass; this one builds the model, loads it through the checked loader and never fetches
pre-trained weights.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.config import Config
from mmengine.dataset import Compose
from mmengine.logging import print_log
from mmengine.model import revert_sync_batchnorm
from mmengine.registry import DATASETS, MODELS, VISUALIZERS, init_default_scope
from mmengine.structures import BaseDataElement
from mmengine.visualization import Visualizer

from vitadapter_dense.checkpoints.checked_loading import load_checked, read_checkpoint
from vitadapter_dense.command_line.config import iter_datasets
from vitadapter_dense.datasets.loading import value_range_of
from vitadapter_dense.reports.label_pictures import full_palette
from vitadapter_dense.tuning.delta import complete_state_dict

_TOOLBOX_NAMES = {'LoadImageChecked': 'LoadImageFromFile'}


def build_model(cfg: Config) -> torch.nn.Module:
    """Builds the model of a configuration, without weights, as a runner would."""
    init_default_scope(cfg.get('default_scope', 'mmengine'))
    model_cfg = copy.deepcopy(cfg.model)
    if cfg.get('data_preprocessor') is not None:
        model_cfg.setdefault('data_preprocessor', cfg.data_preprocessor)
    return MODELS.build(model_cfg)


def build_model_on_meta(cfg: Config) -> torch.nn.Module:
    """Builds the model without memory for its parameters; on the CPU where a part refuses that.

    Some backbones of the toolboxes (Swin, for one) read values while they are built.
    """
    try:
        with torch.device('meta'):
            return build_model(cfg)
    except (NotImplementedError, RuntimeError) as error:
        print_log(f'not built on the meta device, but on the CPU: {error}', logger='current')
        return build_model(cfg)


def inferencer_config(cfg: Config) -> Config:
    """A copy of a configuration as the toolboxes take it for single images.

    `DetInferencer`, `MMSegInferencer`, `inference_detector` and `inference_model` look for
    `LoadImageFromFile` by its name, to put a loader of arrays in its place, and know no
    annotations. A delta is completed and its base compared, but otherwise their loading lets
    a checkpoint pass that does not fit: prefer `Predictor`.
    """
    cfg = copy.deepcopy(cfg)
    for dataset in iter_datasets(cfg.test_dataloader.dataset):
        dataset.pipeline = _for_toolboxes(dataset.pipeline)
    if 'test_pipeline' in cfg:  # this one MMSegmentation's functions read
        cfg.test_pipeline = _for_toolboxes(cfg.test_pipeline)
    return cfg


def _for_toolboxes(pipeline: Sequence[dict]) -> list[dict]:
    steps = _without_annotations(pipeline)
    if value_range_of(steps) is not None:
        raise ValueError(
            "the toolboxes' loader of single images knows no value_range, and would read them as "
            'black or white: use Predictor of vitadapter_dense.inference.predictor'
        )
    return [dict(step, type=_TOOLBOX_NAMES.get(step['type'], step['type'])) for step in steps]


class Predictor:
    """A trained model with the pipeline that its images need.

    Args:
        cfg: the configuration; its test loader names the pipeline.
        checkpoint: file with the whole model's weights, or a delta.
        device: where to compute.

    Raises:
        WeightsError: when the checkpoint does not fit the model.
    """

    def __init__(self, cfg: Config, checkpoint: str | Path, *, device: str = 'cpu') -> None:
        model = revert_sync_batchnorm(build_model(cfg))
        content = read_checkpoint(str(checkpoint))
        what = f'checkpoint {checkpoint}'
        state = complete_state_dict(model, content, checkpoint)
        load_checked(model, state, min_share=1.0, what=what)
        self.model = model.to(device).eval()
        dataset = next(iter_datasets(cfg.test_dataloader.dataset))
        steps = _without_annotations(dataset.pipeline)
        self.pipeline = Compose(steps)
        self._pipeline_of_arrays = Compose(
            [step for step in steps if not step['type'].startswith('LoadImage')]
        )
        self.dataset_meta = dataset_meta(content, dataset, number=getattr(model, 'num_classes', 0))
        self._visualizer_cfg = cfg.get('visualizer') or dict(type='Visualizer')

    def prepare(self, image_file: str | Path) -> dict[str, Any]:
        """Reads an image and makes the model's input.

        Raises:
            Exception: what the pipeline raises when the file is no readable image.
        """
        data = self.pipeline(dict(img_path=str(image_file), img_id=0))
        if data is None:
            raise ValueError(f'the pipeline returned nothing for {image_file}')
        return {key: [value] for key, value in data.items()}

    def prepare_array(self, image: np.ndarray) -> dict[str, Any]:
        """Makes the model's input of an image in memory, (H, W, 3) uint8, BGR.

        Raises:
            ValueError: an array of another type, which 0 to 1 or 12 bits would be, or shape.
        """
        if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
            raise ValueError(
                f'an image in memory must be (height, width, 3), uint8, BGR, got {image.shape} of '
                f'{image.dtype}: bring its values to 0 to 255 first'
            )
        shape = image.shape[:2]
        data = dict(img=image, img_path='', img_id=0, img_shape=shape, ori_shape=shape)
        return {key: [value] for key, value in self._pipeline_of_arrays(data).items()}

    @torch.no_grad()
    def predict(self, inputs: dict[str, Any]) -> BaseDataElement:
        """The data sample of one prepared image, predictions in the image's original size."""
        return self.model.test_step(inputs)[0]

    def make_visualizer(self) -> Visualizer:
        """The configuration's visualizer, without storage, knowing the class names and colours."""
        options = dict(self._visualizer_cfg, vis_backends=None, name='predictor')
        visualizer = VISUALIZERS.build(options)
        visualizer.dataset_meta = self.dataset_meta
        return visualizer


def _without_annotations(pipeline: Sequence[dict]) -> list[dict]:
    return [step for step in pipeline if 'Annotations' not in step['type']]


def dataset_meta(checkpoint: dict, dataset: Config, *, number: int = 0) -> dict[str, Any]:
    """Class names and colours: the checkpoint's, completed by the configuration's data set.

    Args:
        number: of classes, which then go by their numbers where nobody has named them.
    """
    registered = DATASETS.get(dataset['type'])
    meta = dict(getattr(registered, 'METAINFO', None) or {})
    meta.update(dataset.get('metainfo') or {})
    stored = (checkpoint.get('meta') or {}).get('dataset_meta') or {}
    meta.update({key.lower(): value for key, value in stored.items()})
    if not meta.get('classes') and number:
        meta['classes'] = tuple(map(str, range(number)))
    if meta.get('classes'):
        meta['palette'] = full_palette(meta)
    return meta
