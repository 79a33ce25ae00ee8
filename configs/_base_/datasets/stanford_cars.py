"""Stanford Cars, 196 models: data/stanford_cars/car_ims/*.jpg and cars_annos.mat.

VPT takes a tenth of the 8,144 training images for validation (KMnP/vpt, README, its splits).
"""

_base_ = './classification_224.py'

data_root = 'data/stanford_cars/'
num_classes = 196
dataset = dict(type='StanfordCars', data_root=data_root)

train_dataloader = dict(dataset=dict(dataset, split='train', pipeline=_base_.train_pipeline))
val_dataloader = dict(dataset=dict(dataset, split='test', pipeline=_base_.test_pipeline))
test_dataloader = val_dataloader
