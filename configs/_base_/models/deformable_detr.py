"""Deformable DETR (https://arxiv.org/abs/2010.04159), with box refinement and two stages.

The numbers are those of MMDetection's deformable-detr-refine-twostage_r50_16xb2-50e_coco.py.
"""

_base_ = './detr.py'

ffn_cfg = dict(feedforward_channels=1024, ffn_drop=0.1)

model = dict(
    type='DeformableDETR',
    num_queries=300,
    encoder=dict(layer_cfg=dict(self_attn_cfg=dict(batch_first=True), ffn_cfg=ffn_cfg)),
    decoder=dict(
        layer_cfg=dict(
            self_attn_cfg=dict(dropout=0.1, batch_first=True),
            cross_attn_cfg=dict(batch_first=True),
            ffn_cfg=ffn_cfg,
        ),
    ),
    positional_encoding=dict(offset=-0.5),
    bbox_head=dict(type='DeformableDETRHead', loss_cls=dict(loss_weight=2.0)),
    test_cfg=dict(max_per_img=100),
)
del ffn_cfg
