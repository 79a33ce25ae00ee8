"""ViT-B/16 (ImageNet-21k), deep visual prompts.

100 prompts a block are what VPT's demo takes for DMLab and EuroSAT; for SUN397 it takes 5.
"""

_base_ = './classifier_vit_b_in21k_head_only.py'

model = dict(
    backbone=dict(
        tuning=dict(
            _delete_=True, type='VisualPromptTuning', num_tokens=100, deep=True, dropout=0.1
        )
    )
)
