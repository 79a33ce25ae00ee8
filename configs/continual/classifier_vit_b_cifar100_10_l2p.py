"""L2P on Split-CIFAR-100, ten tasks, frozen ViT-B/16 of ImageNet-21k.

Published: pool, key loss and batch-wise choice (L2P's PyTorch port, configs/cifar100_l2p.py and
prompt.py), and all that the file below says is.
"""

_base_ = './classifier_vit_b_cifar100_10.py'

model = dict(
    backbone=dict(
        source='prompts',
        encoder=dict(keep_prefix_tokens=True),
        tuning=dict(
            _delete_=True,
            type='PromptPool',
            size=10,
            length=5,
            top_k=5,
            query='cls',
            batchwise=True,
            key_weight=0.1,
        ),
    )
)
custom_hooks = [dict(type='PromptCountsHook')]
