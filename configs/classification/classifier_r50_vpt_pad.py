"""ResNet-50, a learned border around the image, of 5 pixels as in VPT's demo."""

_base_ = './classifier_r50_head_only.py'

model = dict(
    backbone=dict(
        tuning=dict(_delete_=True, type='VisualPromptTuning', location='pad', num_tokens=5)
    )
)
