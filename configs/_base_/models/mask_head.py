"""A mask head of ours in MMSegmentation's segmentor; a preset adds the backbone and the decoder.

Losses, matching and points are Mask2Former's, as in PMT and EoMT (eomt,
training/mask_classification_loss.py and the defaults of mask_classification_semantic.py). The
number of classes also sets the length of `loss_cls.class_weight`: a config for other data overrides
both.
"""

_base_ = './mask2former.py'

head = _base_.model.decode_head

model = dict(
    decode_head=dict(
        _delete_=True,
        type='SemanticMaskHead',
        num_classes=_base_.num_classes,
        num_queries=100,
        loss_cls=head.loss_cls,
        loss_mask=head.loss_mask,
        loss_dice=head.loss_dice,
        train_cfg=dict(
            num_points=12544,
            oversample_ratio=3.0,
            importance_sample_ratio=0.75,
            assigner=head.train_cfg.assigner,
        ),
    ),
    # Windows overlap as little as they may: EoMT's slide along the longer side alone.
    test_cfg=dict(mode='slide', crop_size=(512, 512), stride=(341, 341)),
)
del head

find_unused_parameters = False  # every parameter has a gradient in every batch
