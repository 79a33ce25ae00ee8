"""A small Sparse R-CNN with ViT-Adapter on the generated shapes (ours): 30 proposals, 3 stages."""

_base_ = [
    '../_base_/models/sparse_rcnn_fpn.py',
    '../_base_/encoders/shapes_xs.py',
    '../_base_/datasets/shapes_detection.py',
    '../_base_/schedules/adamw_detectors_xs.py',
    '../_base_/runtime/detection_iterations.py',
]

width = 64  # of FPN and heads; 256 in the COCO configs
num_stages = 3
num_proposals = 30  # an image has at most eight objects
heads = _base_.model.roi_head.bbox_head[:num_stages]
for head in heads:
    head.update(num_classes=5, num_heads=2, in_channels=width, feedforward_channels=4 * width)
    head.dynamic_conv_cfg.update(in_channels=width, feat_channels=32, out_channels=width)

model = dict(
    backbone=_base_.pop('backbone'),
    neck=dict(in_channels=[96] * 4, out_channels=width),
    rpn_head=dict(num_proposals=num_proposals, proposal_feature_channel=width),
    roi_head=dict(
        num_stages=num_stages,
        stage_loss_weights=[1] * num_stages,
        proposal_feature_channel=width,
        bbox_roi_extractor=dict(out_channels=width),
        bbox_head=heads,
    ),
    train_cfg=dict(rcnn=_base_.model.train_cfg.rcnn[:num_stages]),
    test_cfg=dict(rcnn=dict(max_per_img=num_proposals)),
)
del heads, head

optim_wrapper = dict(optimizer=dict(lr=1e-3))
default_hooks = dict(checkpoint=dict(interval=500, save_best='coco/bbox_mAP'))
