"""Objects of shapes in three steps, 3, 1 and 1: prompts in the decoder of a frozen DINO (ours).

After MD-DETR (Bhatt et al., ECCV 2024). The first step trains the detector; each later one its
units of the memory and the rows of its class, with the last model's objects as labels.
"""

_base_ = ['../shapes/dino_vitadapter_xs.py', '../_base_/schedules/query_steps_xs.py']

continual = dict(groups='3-1', rows='task', pseudo_labels=dict(threshold=0.5))

model = dict(
    type='PromptMemoryDETR',
    prompt_memory=dict(size=40, length=4, top_k=5, slots_per_task=20),
)

default_hooks = dict(checkpoint=dict(interval=100, max_keep_ckpts=1))
