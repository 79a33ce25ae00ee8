"""A pool and a generator of prompts side by side (ours)."""

_base_ = './classifier_vit_xs_shapes_l2p.py'

model = dict(
    backbone=dict(
        tuning=dict(
            _delete_=True,
            type='PooledPromptGenerator',
            pool=dict(size=10, length=3, top_k=2, query='mean'),
            generator=dict(type='ClsPromptGenerator', length=6, query='mean'),
        )
    )
)
