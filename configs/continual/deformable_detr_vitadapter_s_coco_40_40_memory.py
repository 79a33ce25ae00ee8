"""COCO in two steps of 40 classes: prompts in the decoder of a frozen Deformable DETR.

Published (MD-DETR, Bhatt et al., ECCV 2024, for COCO in four steps): 100 units of 10 prompts, a
weight of 0.1, labels of the last model above 0.65, and a rate of 1e-4 over 6 epochs. Ours: the
model and the split, the query, prompts for each layer, and as many labels of an image as there are
(theirs are 5 at most).
"""

_base_ = './deformable_detr_vitadapter_s_coco_40_40.py'

continual = dict(
    pseudo_labels=dict(threshold=0.65),
    later=dict(
        train_cfg=dict(max_epochs=6, val_interval=6),
        optim_wrapper=dict(optimizer=dict(lr=1e-4)),
        param_scheduler=[dict(type='MultiStepLR', by_epoch=True, begin=0, end=6, milestones=[5])],
    ),
)

model = dict(
    type='PromptMemoryDETR',
    prompt_memory=dict(size=100, length=10, top_k=100, slots_per_task=100, key_weight=0.1),
)
