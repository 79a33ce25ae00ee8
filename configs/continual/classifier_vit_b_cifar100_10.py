"""Split-CIFAR-100, ten tasks of ten classes, on a frozen ViT-B/16 of ImageNet-21k: new rows a task.

Published: the tasks, a frozen encoder, 5 epochs a task, Adam with a constant rate of
0.03 * batch / 256, images in [0, 1] without other normalisation, classes of other tasks hidden in
training (L2P's PyTorch port, configs/cifar100_l2p.py and engine.py). The order is drawn with the
seed that is usual for it (1993). Ours: a linear classifier on the CLS token in place of prompts.
"""

_base_ = [
    '../_base_/models/classifier.py',
    '../_base_/datasets/cifar100.py',
    '../_base_/runtime/classification.py',
]

continual = dict(groups='10-10', order=1993, logits='task', rows='task')

model = dict(
    data_preprocessor=dict(mean=[0.0] * 3, std=[255.0] * 3),
    backbone=dict(
        type='TokenReadOut',
        source='cls',
        encoder=dict(
            type='TimmViT', model_name='vit_base_patch16_224.augreg_in21k', pretrained=True
        ),
        tuning=dict(type='HeadOnly'),
    ),
    neck=dict(in_channels=768),
    head=dict(num_classes=100, in_channels=768),
)

train_dataloader = dict(batch_size=16)
train_cfg = dict(type='EpochBasedTrainLoop', max_epochs=5, val_interval=5)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')
optim_wrapper = dict(
    type='OptimWrapper',
    optimizer=dict(type='Adam', lr=0.03 * 16 / 256),
    clip_grad=dict(max_norm=1.0),
)
param_scheduler = []
default_hooks = dict(checkpoint=dict(type='TunedCheckpointHook', max_keep_ckpts=1))
