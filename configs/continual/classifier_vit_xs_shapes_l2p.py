"""L2P: a pool of prompts on a frozen encoder, read by the prompts; new rows for each task (ours).

Pool and key loss are those of L2P's PyTorch port, of half the size: the encoder is small.
"""

_base_ = './classifier_vit_xs_shapes.py'

continual = dict(rows='task', logits='task')
model = dict(
    backbone=dict(
        source='prompts',
        tuning=dict(type='PromptPool', size=10, length=3, top_k=2, query='mean', key_weight=0.1),
    )
)
default_hooks = dict(checkpoint=dict(type='TunedCheckpointHook'))
optim_wrapper = dict(optimizer=dict(lr=3e-3))
custom_hooks = [dict(type='PromptCountsHook')]
