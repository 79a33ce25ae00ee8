"""Pascal Context, 59 classes without background.

Layout under `data_root`: JPEGImages/*.jpg, SegmentationClassContext/*.png and
ImageSets/SegmentationContext/{train,val}.txt, made by MMSegmentation's
tools/dataset_converters/pascal_context.py. Label 0 is ignored (reduce_zero_label).

`data_root` is copied into every loader when this file is read: to use another folder, give the
tools `--data-root`, since overriding the variable alone changes nothing.
"""

_base_ = './segmentation_480.py'

data_root = 'data/VOCdevkit/VOC2010/'

train_dataloader = dict(
    dataset=dict(
        type='PascalContextDataset59',
        data_root=data_root,
        ann_file='ImageSets/SegmentationContext/train.txt',
        data_prefix=dict(img_path='JPEGImages', seg_map_path='SegmentationClassContext'),
    ),
)
val_dataloader = dict(
    dataset=dict(
        type='PascalContextDataset59',
        data_root=data_root,
        ann_file='ImageSets/SegmentationContext/val.txt',
        data_prefix=dict(img_path='JPEGImages', seg_map_path='SegmentationClassContext'),
    ),
)
test_dataloader = val_dataloader
