"""ViT-B/16 of MoCo v3, deep visual prompts; their number is ours."""

_base_ = './classifier_vit_b_mocov3_head_only.py'

model = dict(
    backbone=dict(
        tuning=dict(_delete_=True, type='VisualPromptTuning', num_tokens=50, deep=True, dropout=0.1)
    )
)
