"""ImageNet-A for a model of ImageNet's 1000 classes: data/imagenet-a/<n01498041>/*.jpg.

It has 200 of them. Only the classes that have images can be predicted, as the authors evaluate it.
"""

_base_ = './classification_224.py'

data_root = 'data/imagenet-a/'
num_classes = 1000

test_dataloader = dict(
    dataset=dict(
        type='ListedImages',
        data_root=data_root,
        folders='imagenet',
        pipeline=_base_.test_pipeline,
        test_mode=True,
    )
)
test_evaluator = dict(type='ClassAccuracy', among='present')
train_dataloader = val_dataloader = val_evaluator = None  # there is nothing to train on
