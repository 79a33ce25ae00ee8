"""Pascal VOC 2012 with the labels of SBD (10,582 images to train on), crops of 512.

Layout under `data_root`: JPEGImages/, SegmentationClassAug/ (maps of class numbers, 255 ignored),
ImageSets/Segmentation/{trainaug,val}.txt.

`data_root` is copied into every loader when this file is read: to use another folder, give the
tools `--data-root`, since overriding the variable alone changes nothing.
"""

_base_ = './segmentation_512.py'

data_root = 'data/VOCdevkit/VOC2012/'
dataset = dict(
    type='PascalVOCDataset',
    data_root=data_root,
    data_prefix=dict(img_path='JPEGImages', seg_map_path='SegmentationClassAug'),
)

train_dataloader = dict(dataset=dict(dataset, ann_file='ImageSets/Segmentation/trainaug.txt'))
val_dataloader = dict(dataset=dict(dataset, ann_file='ImageSets/Segmentation/val.txt'))
test_dataloader = val_dataloader
