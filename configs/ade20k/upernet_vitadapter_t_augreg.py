"""UperNet, ViT-Adapter-T, AugReg-T weights, crop 512, 160k iterations."""

_base_ = ['./upernet_vitadapter_t.py', '../_base_/encoders/augreg.py']

model = _base_.pop('presets').t.segmentation
