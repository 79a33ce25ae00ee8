"""NABirds, 555 species, as lists: data/nabirds/images/, train.txt, val.txt, test.txt.

VPT takes a tenth of the 23,929 training images for validation (KMnP/vpt, README, its splits).
"""

_base_ = './lists_224.py'

data_root = 'data/nabirds/'
num_classes = 555

train_dataloader = dict(dataset=dict(data_root=data_root))
val_dataloader = dict(dataset=dict(data_root=data_root))
test_dataloader = dict(dataset=dict(data_root=data_root))
