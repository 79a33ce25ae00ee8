"""A mask head of ours in MMDetection's Mask2Former; a preset adds the backbone and the decoder.

Losses, matching and points are Mask2Former's, as in PMT and EoMT (eomt,
training/mask_classification_{loss,panoptic}.py). Images are padded to squares of 640 pixels, in
testing too.
"""

_base_ = './mask2former_panoptic.py'

head = _base_.model.panoptic_head

model = dict(
    data_preprocessor=dict(pad_size_divisor=640),
    panoptic_head=dict(
        _delete_=True,
        type='ObjectMaskHead',
        num_things_classes=head.num_things_classes,
        num_stuff_classes=head.num_stuff_classes,
        num_queries=200,
        loss_cls=head.loss_cls,
        loss_mask=head.loss_mask,
        loss_dice=head.loss_dice,
    ),
    train_cfg=dict(
        _delete_=True,
        num_points=12544,
        oversample_ratio=3.0,
        importance_sample_ratio=0.75,
        assigner=_base_.model.train_cfg.assigner,
    ),
)
del head

find_unused_parameters = False  # every parameter has a gradient in every batch
