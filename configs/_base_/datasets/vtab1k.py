"""A task of VTAB-1k: 800 images to train on and 200 to choose by, or both, and the test set.

Lists and folders as in the processed set that most methods share: data/vtab/<task>/train800.txt,
val200.txt, train800val200.txt, test.txt, with paths from data/vtab/<task>/. Another task:
`--data-root data/vtab/<task> --cfg-options train_dataloader.dataset.num_classes=N` and so for val
and test; docs/classification.md lists the 19. Images are squeezed to 224 x 224 (KMnP/vpt,
src/data/datasets/tf_dataset.py), without augmentation.
"""

_base_ = './classification_224.py'

data_root = 'data/vtab/cifar/'
num_classes = 100

train_pipeline = test_pipeline = [
    dict(type='LoadImageChecked'),
    dict(type='Resize', scale=(224, 224)),
    dict(type='PackInputs'),
]
dataset = dict(
    type='ListedImages', data_root=data_root, num_classes=num_classes, pipeline=test_pipeline
)
train_dataloader = dict(dataset=dict(dataset, ann_file='train800.txt'))
val_dataloader = dict(dataset=dict(dataset, ann_file='val200.txt', test_mode=True))
test_dataloader = dict(dataset=dict(dataset, ann_file='test.txt', test_mode=True))
