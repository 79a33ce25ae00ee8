"""CIFAR-10, enlarged to 224 pixels: data/cifar10/cifar-10-batches-py/, as its authors pack it.

The images lie in memory, and `LoadImageOfSet` hands them on as a file's are.
"""

_base_ = './classification_224.py'

data_root = 'data/cifar10/'
num_classes = 10

train_pipeline = [
    dict(type='LoadImageOfSet'),
    dict(type='Resize', scale=(224, 224)),
    dict(type='RandomFlip', prob=0.5, direction='horizontal'),
    dict(type='PackInputs'),
]
test_pipeline = [
    dict(type='LoadImageOfSet'),
    dict(type='Resize', scale=(224, 224)),
    dict(type='PackInputs'),
]
dataset = dict(type='CIFAR10', data_root=data_root, download=False)

train_dataloader = dict(dataset=dict(dataset, split='train', pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(dataset, split='test', pipeline=test_pipeline, test_mode=True))
test_dataloader = val_dataloader
