"""FCN, ResNet-50, a side network beside the frozen backbone, crop 512, 80k iterations."""

_base_ = './fcn_r50_full.py'

# Maps that no head reads would leave parts of the side network without a gradient.
model = dict(
    backbone=dict(backbone=dict(out_indices=(2, 3)), tuning=dict(_delete_=True, type='SideTuning')),
    decode_head=dict(in_index=1),
    auxiliary_head=dict(in_index=0),
)
