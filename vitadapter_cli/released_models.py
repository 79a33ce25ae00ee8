"""The checkpoints that the original ViT-Adapter released, as its READMEs list them.

Source: the model tables of https://github.com/czczup/ViT-Adapter, `detection/README.md` and
`segmentation/README.md`, June 2025. They tell neither sizes nor hashes. A `.zip` holds one
checkpoint of more than 2 GB.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

_RELEASES = 'https://github.com/czczup/ViT-Adapter/releases/download'


@dataclass(frozen=True)
class ReleasedModel:
    """A trained model that can be named.

    Attributes:
        name: data set and model, `coco/mask_rcnn_vitadapter_s`; its configuration is the file of
            that name below `configs/`.
        address: of its checkpoint.
        weights: that the training started from.
        schedule: of the training.
        published: what the original's tables say, in percent: box AP and mask AP on COCO (box AP
            where there are no masks, PQ before both where stuff is found too), elsewhere mIoU at
            one scale and at several.
        parameters: of the whole model, from the same tables; - where they tell none.
        sha256: of the file, where it is known; else the first download's is recorded on the
            machine.
    """

    name: str
    address: str
    weights: str
    schedule: str
    published: str
    parameters: str
    sha256: str | None = None

    @property
    def dataset(self) -> str:
        """The folder of its configuration."""
        return self.name.partition('/')[0]

    @property
    def short_name(self) -> str:
        """The name without the data set; several models may share it."""
        return self.name.partition('/')[2]

    @property
    def config(self) -> str:
        """The configuration, as `config_path` finds it."""
        return f'configs/{self.name}.py'


# short name, weights, schedule, published, parameters, file
# fmt: off
_COCO = (
    ('mask_rcnn_vitadapter_t', 'DeiT-T', '3x + MS', '46.0 / 41.0',
     '28 M', 'v0.1.2/mask_rcnn_deit_adapter_tiny_fpn_3x_coco.pth.tar'),
    ('mask_rcnn_vitadapter_s', 'DeiT-S', '3x + MS', '48.2 / 42.8',
     '48 M', 'v0.1.2/mask_rcnn_deit_adapter_small_fpn_3x_coco.pth.tar'),
    ('mask_rcnn_vitadapter_b', 'DeiT-B', '3x + MS', '49.6 / 43.6',
     '120 M', 'v0.1.6/mask_rcnn_deit_adapter_base_fpn_3x_coco.pth.tar'),
    ('mask_rcnn_vitadapter_b_uniperceiver', 'Uni-Perceiver-B', '3x + MS', '51.2 / 45.3',
     '120 M', 'v0.3.1/mask_rcnn_uniperceiver_adapter_base_fpn_3x_coco.pth'),
    ('mask_rcnn_vitadapter_l', 'AugReg-L', '3x + MS', '52.1 / 46.0',
     '348 M', 'v0.3.1/mask_rcnn_augreg_adapter_large_fpn_3x_coco.pth'),
    ('cascade_mask_rcnn_vitadapter_s', 'DeiT-S', '3x + MS', '51.5 / 44.3',
     '86 M', 'v0.1.3/cascade_mask_rcnn_deit_adapter_small_fpn_3x_coco.pth.tar'),
    ('cascade_mask_rcnn_vitadapter_b', 'DeiT-B', '3x + MS', '52.1 / 44.8',
     '158 M', 'v0.3.1/cascade_mask_rcnn_deit_adapter_base_fpn_3x_coco.pth'),
    ('atss_vitadapter_s', 'DeiT-S', '3x + MS', '49.6',
     '36 M', 'v0.1.5/atss_deit_adapter_small_fpn_3x_coco.pth.tar'),
    ('gfl_vitadapter_s', 'DeiT-S', '3x + MS', '50.0',
     '36 M', 'v0.1.6/gfl_deit_adapter_small_fpn_3x_coco.pth.tar'),
    ('sparse_rcnn_vitadapter_s', 'DeiT-S', '3x + MS', '48.1',
     '110 M', 'v0.1.6/sparse_rcnn_deit_adapter_small_fpn_3x_coco.pth.tar'),
    ('mask_rcnn_vitadapter_b_mae_lsj_25ep', 'MAE-B', '25 epochs + LSJ', '50.3 / 44.7',
     '122 M', 'v0.1.4/mask_rcnn_mae_adapter_base_lsj_fpn_25ep_coco.pth.tar'),
    ('mask_rcnn_vitadapter_b_mae_lsj_50ep', 'MAE-B', '50 epochs + LSJ', '50.8 / 45.1',
     '122 M', 'v0.1.4/mask_rcnn_mae_adapter_base_lsj_fpn_50ep_coco.pth.tar'),
    ('mask2former_vitadapter_l_beitv2_panoptic', 'BEiT v2-L', '3x + MS', 'PQ 58.4; 52.9 / 48.9',
     '-', 'panoptic/mask2former_beitv2_adapter_large_16x1_3x_coco-panoptic.pth'),
)
_ADE20K = (
    ('upernet_vitadapter_t', 'DeiT-T', '160k, crop 512', '42.6 / 43.6',
     '36 M', 'v0.3.1/upernet_deit_adapter_tiny_512_160_ade20k.pth.tar'),
    ('upernet_vitadapter_s', 'DeiT-S', '160k, crop 512', '46.2 / 47.1',
     '58 M', 'v0.3.1/upernet_deit_adapter_small_512_160k_ade20k.pth'),
    ('upernet_vitadapter_b', 'DeiT-B', '160k, crop 512', '48.8 / 49.7',
     '134 M', 'v0.3.1/upernet_deit_adapter_base_512_160k_ade20k.pth.tar'),
    ('upernet_vitadapter_t_augreg', 'AugReg-T', '160k, crop 512', '43.9 / 44.8',
     '36 M', 'v0.3.1/upernet_augreg_adapter_tiny_512_160_ade20k.pth.tar'),
    ('upernet_vitadapter_b_augreg', 'AugReg-B', '160k, crop 512', '51.9 / 52.5',
     '134 M', 'v0.3.1/upernet_augreg_adapter_base_512_160k_ade20k.pth.tar'),
    ('upernet_vitadapter_l', 'AugReg-L', '160k, crop 512', '53.4 / 54.4',
     '364 M', 'v0.3.1/upernet_augreg_adapter_large_512_160k_ade20k.pth.tar'),
    ('upernet_vitadapter_l_uniperceiver', 'Uni-Perceiver-L', '160k, crop 512', '55.0 / 55.4',
     '364 M', 'v0.3.1/upernet_uniperceiver_adapter_large_512_160k_ade20k.pth'),
    ('upernet_vitadapter_l_beit', 'BEiT-L', '160k, crop 640', '58.0 / 58.4',
     '451 M', 'v0.2.1/upernet_beit_adapter_large_640_160k_ade20k.pth.tar'),
    ('mask2former_vitadapter_l_beit', 'BEiT-L', '160k, crop 640', '58.3 / 59.0',
     '568 M', 'v0.2.2/mask2former_beit_adapter_large_640_160k_ade20k.zip'),
    ('mask2former_vitadapter_l_beit_896', 'BEiT-L, COCO-Stuff', '80k, crop 896', '59.4 / 60.5',
     '571 M', 'v0.2.0/mask2former_beit_adapter_large_896_80k_ade20k.zip'),
    ('mask2former_vitadapter_l_beitv2_896', 'BEiT v2-L, COCO-Stuff', '80k, crop 896', '61.2 / 61.5',
     '571 M', 'v0.3.1/mask2former_beitv2_adapter_large_896_80k_ade20k.zip'),
)
_CITYSCAPES = (
    ('mask2former_vitadapter_l_beit', 'BEiT-L, Mapillary Vistas', '80k, crop 896', '84.9 / 85.8',
     '571 M', 'v0.2.3/mask2former_beit_adapter_large_896_80k_cityscapes.zip'),
)
_COCO_STUFF10K = (
    ('mask2former_vitadapter_b_beit', 'BEiT-B', '40k, crop 512', '50.0 / 50.5',
     '120 M', 'v0.2.9/mask2former_beit_adapter_base_512_40k_cocostuff10k.pth.tar'),
    ('upernet_vitadapter_l_beit', 'BEiT-L', '80k, crop 512', '51.0 / 51.4',
     '451 M', 'v0.2.4/upernet_beit_adapter_large_512_80k_cocostuff10k.pth.tar'),
    ('mask2former_vitadapter_l_beit', 'BEiT-L', '40k, crop 512', '53.2 / 54.2',
     '568 M', 'v0.2.5/mask2former_beit_adapter_large_512_40k_cocostuff10k.zip'),
)
_COCO_STUFF164K = (
    ('upernet_vitadapter_l_beit', 'BEiT-L', '80k, crop 640', '50.5 / 50.7',
     '451 M', 'v0.2.6/upernet_beit_adapter_large_640_80k_cocostuff164k.pth.tar'),
    ('mask2former_vitadapter_l_beit', 'BEiT-L', '80k, crop 896', '51.7 / 52.0',
     '571 M', 'v0.2.6/mask2former_beit_adapter_large_896_80k_cocostuff164k.zip'),
    ('mask2former_vitadapter_l_beitv2', 'BEiT v2-L', '80k, crop 896', '52.3 / -',
     '571 M', 'v0.3.1/mask2former_beitv2_adapter_large_896_80k_cocostuff164k.zip'),
)
_PASCAL_CONTEXT = (
    ('mask2former_vitadapter_b_beit', 'BEiT-B', '40k, crop 480', '64.0 / 64.4',
     '120 M', 'v0.2.8/mask2former_beit_adapter_base_480_40k_pascal_context_59.pth.tar'),
    ('upernet_vitadapter_l_beit', 'BEiT-L', '80k, crop 480', '67.0 / 67.5',
     '451 M', 'v0.2.7/upernet_beit_adapter_large_480_80k_pascal_context_59.pth.tar'),
    ('mask2former_vitadapter_l_beit', 'BEiT-L', '40k, crop 480', '67.8 / 68.2',
     '568 M', 'v0.2.7/mask2former_beit_adapter_large_480_40k_pascal_context_59.zip'),
)
# fmt: on


def _of(dataset: str, rows: Iterable[tuple[str, ...]]) -> list[ReleasedModel]:
    return [
        ReleasedModel(
            f'{dataset}/{name}',
            f'{_RELEASES}/{file}',
            *cells,  # in the order of the attributes
        )
        for name, *cells, file in rows
    ]


MODELS_OF_THE_ORIGINAL = (
    *_of('coco', _COCO),
    *_of('ade20k', _ADE20K),
    *_of('cityscapes', _CITYSCAPES),
    *_of('coco_stuff10k', _COCO_STUFF10K),
    *_of('coco_stuff164k', _COCO_STUFF164K),
    *_of('pascal_context', _PASCAL_CONTEXT),
)
