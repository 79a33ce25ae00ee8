"""ViT-Adapter as a backbone of Hugging Face's transformers.

Importing this module registers the model type `vit_adapter` with `AutoConfig` and `AutoBackbone`,
so that `UperNetForSemanticSegmentation`, `Mask2FormerForUniversalSegmentation` and others build it
of a `backbone_config`, and a folder that `save_pretrained` wrote is read by `from_pretrained`:

    from transformers import UperNetConfig, UperNetForSemanticSegmentation
    from vitadapter_dense.integrations.hugging_face import ViTAdapterConfig

    config = UperNetConfig(backbone_config=ViTAdapterConfig(size='s'), num_labels=150)
    model = UperNetForSemanticSegmentation(config)
    model.backbone.adapter.init_weights()  # the ViT's weights, by timm
"""

from __future__ import annotations

from typing import Any

import torch
from mmengine.registry import MODELS
from torch import Tensor, nn
from transformers import AutoBackbone, AutoConfig, PreTrainedModel
from transformers.backbone_utils import BackboneConfigMixin, BackboneMixin
from transformers.configuration_utils import PreTrainedConfig
from transformers.modeling_outputs import BackboneOutput

from vitadapter_dense.backbones import ViTAdapter
from vitadapter_dense.integrations.sizes import backbone_config

STAGES = ('stage1', 'stage2', 'stage3', 'stage4')


class ViTAdapterConfig(BackboneConfigMixin, PreTrainedConfig):
    """What a backbone is built of.

    Args:
        size: `t`, `s`, `b` or `l`.
        adapter: config of the `ViTAdapter` itself; default: of `size`, for segmentation.
        out_features: names of the maps that are given, `stage1` (stride 4) to `stage4` (stride 32);
            default: all.
        out_indices: their numbers, instead.
    """

    model_type = 'vit_adapter'
    size: str = 's'
    adapter: dict | None = None

    def __post_init__(self, **kwargs: Any) -> None:
        self.stage_names = list(STAGES)
        names, indices = kwargs.pop('out_features', None), kwargs.pop('out_indices', None)
        if names is None and indices is None:
            names = list(STAGES)
        self.set_output_features_output_indices(out_features=names, out_indices=indices)
        self.adapter = self.adapter or backbone_config(self.size, task='segmentation')
        super().__post_init__(**kwargs)


class ViTAdapterBackbone(BackboneMixin, PreTrainedModel):
    """A `ViTAdapter`, its attribute `adapter`, as transformers' models call their backbones."""

    config_class = ViTAdapterConfig
    main_input_name = 'pixel_values'
    base_model_prefix = 'vit_adapter'
    has_attentions = False

    def __init__(self, config: ViTAdapterConfig) -> None:
        super().__init__(config)
        with torch.device('cpu'):  # its tables and starting values are no weights of a file
            self.adapter: ViTAdapter = MODELS.build(dict(config.adapter))
        self.num_features = [self.adapter.embed_dim] * len(STAGES)
        self.post_init()

    def _init_weights(self, module: nn.Module) -> None:
        """Leaves the start that the modules have given themselves."""

    def forward(self, pixel_values: Tensor, **kwargs: Any) -> BackboneOutput:
        """`(B, 3, H, W)` -> the maps that `out_features` names."""
        maps = self.adapter(pixel_values)
        chosen = tuple(
            found for name, found in zip(STAGES, maps, strict=True) if name in self.out_features
        )
        hidden = tuple(maps) if kwargs.get('output_hidden_states') else None
        return BackboneOutput(feature_maps=chosen, hidden_states=hidden)


AutoConfig.register(ViTAdapterConfig.model_type, ViTAdapterConfig)
AutoBackbone.register(ViTAdapterConfig, ViTAdapterBackbone)
