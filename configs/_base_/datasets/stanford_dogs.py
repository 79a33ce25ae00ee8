"""Stanford Dogs, 120 breeds, as lists: data/stanford_dogs/images/, train.txt, val.txt, test.txt.

VPT takes a tenth of the 12,000 training images for validation (KMnP/vpt, README, its splits).
"""

_base_ = './lists_224.py'

data_root = 'data/stanford_dogs/'
num_classes = 120

train_dataloader = dict(dataset=dict(data_root=data_root))
val_dataloader = dict(dataset=dict(data_root=data_root))
test_dataloader = dict(dataset=dict(data_root=data_root))
