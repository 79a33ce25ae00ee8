"""ADE20K in eleven steps, 100 classes and then 5 at a time: Mask2Former with queries for each step.

ECLIPSE's script/ade_ss/100_5.sh: 5 queries and 12k iterations a step, deltas of 0.1 and 0.8.
"""

_base_ = './mask2former_vitadapter_s_ade20k_100_50.py'

continual = _base_.continual
continual.update(groups='100-5')
continual.later.train_cfg.update(max_iters=12000, val_interval=12000)
continual.later.param_scheduler[1].update(end=12000)

model = dict(decode_head=dict(new_classes=[5] * 10, step_queries=5, deltas=[0.1, 0.8]))
