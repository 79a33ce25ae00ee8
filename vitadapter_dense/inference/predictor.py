"""Predictions on single images with the model of any configuration, of both toolboxes.

The toolboxes have an inferencer each, with interfaces of their own and loading that lets a bad
match pass; this one builds the model, loads it through the checked loader and never fetches
pre-trained weights.
"""

from __future__ import annotations

import copy
import tempfile
from collections import defaultdict
from collections.abc import Sequence
from itertools import compress
from operator import not_
from pathlib import Path
from typing import Any, Literal, TypeAlias

import numpy as np
import PIL.Image
import PIL.ImageOps
import torch
from mmengine.config import Config
from mmengine.dataset import Compose
from mmengine.logging import print_log
from mmengine.model import revert_sync_batchnorm
from mmengine.registry import DATASETS, MODELS, VISUALIZERS, init_default_scope
from mmengine.structures import BaseDataElement
from mmengine.visualization import Visualizer

from vitadapter_cli import load_config
from vitadapter_dense.checkpoints.checked_loading import load_checked, read_checkpoint
from vitadapter_dense.checkpoints.downloads import is_address
from vitadapter_dense.checkpoints.transfer import download
from vitadapter_dense.command_line.config import iter_datasets
from vitadapter_dense.command_line.console import quiet_imports
from vitadapter_dense.command_line.run_files import find_checkpoint
from vitadapter_dense.command_line.work_dirs import config_of
from vitadapter_dense.datasets.errors import DatasetError
from vitadapter_dense.datasets.loading import value_range_of
from vitadapter_dense.inference.devices import checked_device, checked_precision
from vitadapter_dense.inference.large_images import bound_memory
from vitadapter_dense.inference.prediction import Prediction
from vitadapter_dense.reports.label_pictures import full_palette
from vitadapter_dense.training.float32_predictions import keep_predictions_float32
from vitadapter_dense.tuning.delta import complete_state_dict

Image: TypeAlias = str | Path | np.ndarray | PIL.Image.Image

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

        predictor = Predictor('work_dirs/coco/mask_rcnn_vitadapter_s')
        found = predictor('photo.jpg')
        print(found.boxes, [found.names[label] for label in found.labels])
        found.save('drawn.png')

    Args:
        model: a work directory, which holds configuration and checkpoint (its best or last one); a
            released model's name (`list_models()`), whose checkpoint is downloaded; a configuration
            file, the project's own from any folder; or a parsed configuration, whose test loader
            names the pipeline.
        checkpoint: file with the whole model's weights, a delta, a work directory, or a name.
        device: where to compute; default: the GPU if there is one.
        precision: what layers compute in; parameters and predictions stay float32.

    Raises:
        FileNotFoundError: no such configuration, checkpoint or name.
        ValueError: no checkpoint is named, or a precision that the device does not have.
        WeightsError: the checkpoint cannot be had, or does not fit the model.
    """

    def __init__(
        self,
        model: Config | str | Path,
        checkpoint: str | Path | None = None,
        *,
        device: str | None = None,
        precision: Literal['float32', 'bfloat16', 'float16'] = 'float32',
    ) -> None:
        quiet_imports()
        cfg, checkpoint = _found(model, checkpoint)
        self.device = checked_device(device)
        self.precision = checked_precision(precision, self.device)
        content = read_checkpoint(checkpoint)
        self.model = _loaded(cfg, content, checkpoint).to(self.device).eval()
        bound_memory(self.model)
        if self.precision != torch.float32:
            keep_predictions_float32(self.model)
        dataset = next(iter_datasets(cfg.test_dataloader.dataset))
        self.steps = _without_annotations(dataset.pipeline)
        self.pipeline = Compose(self.steps)
        is_loader = [step['type'].startswith('LoadImage') for step in self.steps]
        self._load_file = Compose(compress(self.steps, is_loader))
        self._pipeline_of_arrays = Compose(compress(self.steps, map(not_, is_loader)))
        head = getattr(self.model, 'head', None)  # of a classifier
        number = getattr(self.model, 'num_classes', 0) or getattr(head, 'num_classes', 0)
        self.dataset_meta = dataset_meta(content, dataset, number=number)
        self._visualizer_cfg = cfg.get('visualizer') or dict(type='Visualizer')
        self._scope = cfg.get('default_scope', 'mmengine')

    @property
    def names(self) -> tuple[str, ...]:
        """Of the classes."""
        return tuple(self.dataset_meta.get('classes') or ())

    def __call__(
        self, images: Image | Sequence[Image], *, batch_size: int = 1
    ) -> Prediction | list[Prediction]:
        """Predicts on an image, or on each of a list.

        Args:
            images: a file, an http(s) address, an array (H, W, 3) uint8 in BGR as OpenCV reads it,
                a PIL image; or a list of such.
            batch_size: images of a list that are computed at once, where they come out of the
                pipeline in one size; others would be padded, and predicted on otherwise.

        Raises:
            DatasetError: an image that cannot be read, or fetched from its address.
            ValueError: an array of another type or shape.
        """
        if not isinstance(images, (list, tuple)):
            return self._predict_batch([images])[0]
        if batch_size < 1:
            raise ValueError(f'batch_size={batch_size}; it must be 1 or more')
        starts = range(0, len(images), batch_size)
        return [found for i in starts for found in self._predict_batch(images[i : i + batch_size])]

    def _predict_batch(self, images: Sequence[Image]) -> list[Prediction]:
        visualizer = self.make_visualizer()
        arrays = [self.read(image) for image in images]
        prepared = [self.prepare_array(array) for array in arrays]
        groups = defaultdict(list)
        for index, (array, inputs) in enumerate(zip(arrays, prepared, strict=True)):
            groups[array.shape, inputs['inputs'][0].shape].append(index)
        samples = {}
        for indices in groups.values():
            batch = {
                key: [prepared[index][key][0] for index in indices] for key in prepared[indices[0]]
            }
            samples |= zip(indices, self._run(batch), strict=True)
        return [
            Prediction(
                array[..., ::-1],
                samples[index],
                self.names,
                visualizer,
                str(image) if isinstance(image, (str, Path)) else None,
            )
            for index, (image, array) in enumerate(zip(images, arrays, strict=True))
        ]

    def read(self, image: Image) -> np.ndarray:
        """Reads an image as the pipeline does: (H, W, 3) uint8, BGR. Errors as of a call."""
        if isinstance(image, np.ndarray):
            return image
        if isinstance(image, PIL.Image.Image):
            turned = PIL.ImageOps.exif_transpose(image).convert('RGB')
            return np.asarray(turned)[..., ::-1].copy()
        if is_address(image):
            with tempfile.TemporaryDirectory() as folder:
                try:
                    return self.read(download(str(image), Path(folder, 'image')))
                except (DatasetError, OSError) as error:
                    raise DatasetError(f'no image comes from {image}: {error}') from error
        array = self._load_file(dict(img_path=str(image), img_id=0))['img']
        return array if array.dtype == np.uint8 else array.round().clip(0, 255).astype(np.uint8)

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

    def predict(self, inputs: dict[str, Any]) -> BaseDataElement:
        """The data sample of one prepared image, predictions in the image's original size."""
        return self._run(inputs)[0]

    @torch.no_grad()
    def _run(self, inputs: dict[str, Any]) -> Sequence[BaseDataElement]:
        narrow = self.precision != torch.float32
        with torch.autocast(self.device.type, self.precision, enabled=narrow):
            return self.model.test_step(inputs)

    def make_visualizer(self) -> Visualizer:
        """The configuration's visualizer, without storage, knowing the class names and colours."""
        options = dict(self._visualizer_cfg, vis_backends=None, name='predictor')
        with VISUALIZERS.switch_scope_and_registry(self._scope) as visualizers:
            kind = visualizers.get(options.pop('type'))
        # not built by the registry, which keeps one of that name for all predictors
        visualizer = kind(**options)
        visualizer.dataset_meta = self.dataset_meta
        return visualizer


def _found(model: Config | str | Path, checkpoint: str | Path | None) -> tuple[Config, str | Path]:
    """Configuration and checkpoint."""
    if isinstance(model, Config):
        cfg = model
    elif Path(model).is_dir() or (checkpoint is None and not Path(model).suffix):
        cfg, checkpoint = load_config(config_of(model)), checkpoint or model
    else:
        cfg = load_config(model)
    if checkpoint is None:
        named = 'the configuration' if isinstance(model, Config) else repr(str(model))
        raise ValueError(
            f'{named} has no weights: name a checkpoint too, Predictor(config, checkpoint), or the '
            'work directory of a training instead'
        )
    return cfg, checkpoint if is_address(checkpoint) else find_checkpoint(checkpoint)


def _loaded(cfg: Config, content: dict[str, Any], checkpoint: str | Path) -> torch.nn.Module:
    model = revert_sync_batchnorm(build_model(cfg))
    state = complete_state_dict(model, content, checkpoint)
    report = load_checked(model, state, min_share=1.0, what=f'checkpoint {checkpoint}')
    if report.missing or report.unexpected or report.mismatched:
        print_log(f'checkpoint {checkpoint}: {report}', logger='current')
    return model


def _without_annotations(pipeline: Sequence[dict]) -> list[dict]:
    return [step for step in pipeline if 'Annotations' not in step['type']]


def dataset_meta(checkpoint: dict, dataset: Config, *, number: int = 0) -> dict[str, Any]:
    """Class names and colours: the checkpoint's, completed by the configuration's data set.

    Args:
        number: of classes, which then go by their numbers where nobody has named them.
    """
    with DATASETS.switch_scope_and_registry(None) as datasets:  # of the toolbox in use
        registered = datasets.get(dataset['type'])
    meta = dict(getattr(registered, 'METAINFO', None) or {})
    meta.update(dataset.get('metainfo') or {})
    stored = (checkpoint.get('meta') or {}).get('dataset_meta') or {}
    meta.update({key.lower(): value for key, value in stored.items()})
    if not meta.get('classes') and number:
        meta['classes'] = tuple(map(str, range(number)))
    if meta.get('classes'):
        meta['palette'] = full_palette(meta)
    return meta
