"""Objects of shapes in three steps, 3, 1 and 1: prompts in the decoder of a frozen DINO (ours).

After MD-DETR (Bhatt et al., ECCV 2024). The first step trains the detector; each later one its
units of the memory and the rows of its class, with the last model's objects as labels.
"""

_base_ = '../shapes/dino_vitadapter_xs.py'

max_iters = 300

continual = dict(
    groups='3-1',
    rows='task',
    freeze_rest=True,
    pseudo_labels=dict(threshold=0.5),
    later=dict(
        train_cfg=dict(max_iters=max_iters, val_interval=max_iters),
        param_scheduler=[
            dict(type='LinearLR', start_factor=0.01, by_epoch=False, begin=0, end=20),
            dict(type='PolyLR', power=1.0, eta_min=0.0, by_epoch=False, begin=0, end=max_iters),
        ],
    ),
)
del max_iters

model = dict(
    type='PromptMemoryDETR',
    prompt_memory=dict(size=40, length=4, top_k=5, slots_per_task=20),
)

default_hooks = dict(checkpoint=dict(interval=100, max_keep_ckpts=1))
