"""Oxford-IIIT Pet, 37 breeds: data/oxford_pets/images/ and annotations/{trainval,test}.txt."""

_base_ = './classification_224.py'

data_root = 'data/oxford_pets/'
num_classes = 37
dataset = dict(type='OxfordIIITPet', data_root=data_root)

train_dataloader = dict(dataset=dict(dataset, split='trainval', pipeline=_base_.train_pipeline))
val_dataloader = dict(dataset=dict(dataset, split='test', pipeline=_base_.test_pipeline))
test_dataloader = val_dataloader
