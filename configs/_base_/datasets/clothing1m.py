"""Clothing1M, 14 classes with noisy labels, as lists: data/clothing1m/images/, train.txt, val.txt,
test.txt. The lists of its authors go by the names noisy_train, clean_val and clean_test.
"""

_base_ = './lists_224.py'

data_root = 'data/clothing1m/'
num_classes = 14

train_dataloader = dict(dataset=dict(data_root=data_root))
val_dataloader = dict(dataset=dict(data_root=data_root))
test_dataloader = dict(dataset=dict(data_root=data_root))
