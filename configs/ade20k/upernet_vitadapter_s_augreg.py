"""UperNet, ViT-Adapter-S, AugReg weights, crop 512, 160k iterations (ours)."""

_base_ = ['./upernet_vitadapter_b_augreg.py', '../_base_/encoders/augreg.py']

model = _base_.pop('presets').s.segmentation
