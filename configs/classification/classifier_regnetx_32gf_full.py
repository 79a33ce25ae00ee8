"""RegNetX-32GF, its authors' weights (ImageNet-1k).

All of it trains; IMAGE_SET chooses the data set.
"""

_base_ = './classifier_r50_full.py'

model = dict(
    backbone=dict(backbone=dict(model_name='regnetx_320.pycls_in1k')),
    neck=dict(in_channels=2520),
    head=dict(in_channels=2520),
)
