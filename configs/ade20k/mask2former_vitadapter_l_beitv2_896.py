"""Mask2Former, ViT-Adapter-L, BEiT v2 weights, crop 896, 80k iterations.

Published: 61.2 / 61.5 mIoU (single scale / multi-scale), after 80k iterations on COCO-Stuff 164K
(`configs/coco_stuff164k/mask2former_vitadapter_l_beitv2.py`): give that checkpoint to
tools/train.py with `--load-from`.
"""

_base_ = ['./mask2former_vitadapter_l_beit_896.py', '../_base_/encoders/beitv2.py']

# segmentation/configs/ade20k/mask2former_beitv2_adapter_large_896_80k_ade20k_ss.py
model = _base_.pop('presets').l.segmentation
del model.auxiliary_head  # Mask2Former has none
model.backbone.encoder.img_size = 896
