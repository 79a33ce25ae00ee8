"""ADE20K in six steps, 100 classes and then 10 at a time."""

_base_ = './upernet_vitadapter_s_ade20k_100_50.py'

continual = dict(groups='100-10')
