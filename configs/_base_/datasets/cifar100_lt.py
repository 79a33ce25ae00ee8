"""CIFAR-100-LT: the training set's first class has 100 times the images of its last one.

`--cfg-options train_dataloader.dataset.imbalance=10` or 50 makes the others that are usual.
"""

_base_ = './cifar100.py'

train_dataloader = dict(
    dataset=dict(
        _delete_=True,
        type='LongTailed',
        imbalance=100,
        seed=0,
        dataset=dict(_base_.dataset, split='train', pipeline=_base_.train_pipeline),
    )
)
