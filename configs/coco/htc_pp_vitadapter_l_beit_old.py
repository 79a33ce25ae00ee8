"""HTC++, ViT-Adapter-L, BEiT weights, 3x: the original's first version.

As in its segmentors, the ViT's map after interaction i is added to level i (`version='old'`,
ViT-Adapter, detection/configs/htc++/htc++_beit_adapter_large_fpn_3x_coco_old.py), and proposals
are not weighed by soft-NMS.
"""

_base_ = './htc_pp_vitadapter_l_beit.py'

model = dict(
    backbone=dict(vit_feature='per_stage'),
    train_cfg=dict(rpn_proposal=dict(nms=dict(type='nms'))),
    test_cfg=dict(rpn=dict(nms=dict(type='nms'))),
)
