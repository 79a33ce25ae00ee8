"""CIFAR-100, enlarged to 224 pixels: data/cifar100/cifar-100-python/, as its authors pack it."""

_base_ = './cifar10.py'

data_root = 'data/cifar100/'
num_classes = 100
dataset = dict(type='CIFAR100', data_root=data_root)

train_dataloader = dict(dataset=dataset)
val_dataloader = dict(dataset=dataset)
test_dataloader = dict(dataset=dataset)
