"""What the sequences of shapes start from: a small ViT on the fifteen classes that they leave out.

Ours; for tools/train.py.
"""

_base_ = './classifier_vit_xs_shapes.py'

continual = None
load_from = None

outlines = ['circle', 'square', 'triangle', 'star', 'cross']
patterns = ['rings', 'checker', 'stripes', 'dots', 'zigzag']
# all combinations but those of the tasks
classes = [
    name
    for name in [f'{outline}-{pattern}' for outline in outlines for pattern in patterns]
    if name not in _base_.classes
]

model = dict(head=dict(num_classes=15))
train_dataloader = dict(dataset=dict(per_class=600, classes=classes))
val_dataloader = dict(dataset=dict(classes=classes))
test_dataloader = val_dataloader

max_epochs = 30
train_cfg = dict(max_epochs=max_epochs, val_interval=5)
param_scheduler = _base_.param_scheduler
param_scheduler[1].update(end=max_epochs, T_max=max_epochs)
