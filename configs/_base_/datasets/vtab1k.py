"""A task of VTAB-1k: 800 images to train on and 200 to choose by, or both, and the test set.

Lists and folders as in the processed set that most methods share: data/vtab/<task>/train800.txt,
val200.txt, train800val200.txt, test.txt, with paths from data/vtab/<task>/. VTAB_TASK chooses one
of the 19. Images are squeezed to 224 x 224 (KMnP/vpt, src/data/datasets/tf_dataset.py), without
augmentation.
"""

_base_ = './classification_224.py'

task = '{{$VTAB_TASK:cifar}}'
tasks = dict(  # VTAB_TASKS
    **dict(cifar=100, caltech101=102, dtd=47, oxford_flowers102=102, oxford_iiit_pet=37, svhn=10),
    **dict(sun397=397, patch_camelyon=2, eurosat=10, resisc45=45, diabetic_retinopathy=5),
    **dict(clevr_count=8, clevr_dist=6, dmlab=6, kitti=4, dsprites_loc=16, dsprites_ori=16),
    **dict(smallnorb_azi=18, smallnorb_ele=9),
)
if task not in tasks:
    raise ValueError(f'VTAB_TASK={task}: there is no such task; there are {", ".join(tasks)}')
num_classes = tasks[task]
data_root = f'data/vtab/{task}/'
del tasks

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
