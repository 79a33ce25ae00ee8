"""ADE20K in six steps, 100 classes and then 10 at a time: Mask2Former with queries for each step.

ECLIPSE's script/ade_ss/100_10.sh: 10 queries and 24k iterations a step, deltas of 0.1 and 0.7.
"""

_base_ = './mask2former_vitadapter_s_ade20k_100_50.py'

continual = _base_.continual
continual.update(groups='100-10')
continual.later.train_cfg.update(max_iters=24000, val_interval=24000)
continual.later.param_scheduler[1].update(end=24000)

model = dict(decode_head=dict(new_classes=[10] * 5, step_queries=10, deltas=[0.1, 0.7]))
