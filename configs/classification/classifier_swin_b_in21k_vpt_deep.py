"""Swin-B (ImageNet-21k), deep visual prompts; their number is ours."""

_base_ = './classifier_swin_b_in21k_head_only.py'

model = dict(
    backbone=dict(
        tuning=dict(_delete_=True, type='VisualPromptTuning', num_tokens=50, deep=True, dropout=0.1)
    )
)
