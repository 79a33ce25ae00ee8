"""RegNetX-32GF, tuned with prompt blocks (reconstruction)."""

_base_ = './classifier_regnetx_32gf_full.py'

model = dict(backbone=dict(tuning=dict(_delete_=True, type='ProTuning')))
