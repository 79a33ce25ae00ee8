"""Cityscapes (19 classes), crops of 896 from the full resolution.

Layout under `data_root`: leftImg8bit/{train,val}/*/*_leftImg8bit.png and
gtFine/{train,val}/*/*_gtFine_labelTrainIds.png, made by MMSegmentation's
tools/dataset_converters/cityscapes.py. Sizes: ViT-Adapter,
segmentation/configs/cityscapes/mask2former_beit_adapter_large_896_80k_cityscapes_{ss,ms}.py. The
original tests the images as they are; 1024 x 2048 is a multiple of 32.

`data_root` is copied into every loader when this file is read: to use another folder, give the
tools `--data-root`, since overriding the variable alone changes nothing.
"""

_base_ = './segmentation_512.py'

data_root = 'data/cityscapes/'
crop_size = (896, 896)

train_pipeline = _base_.train_pipeline
train_pipeline[2].scale = (2048, 1024)
train_pipeline[3].crop_size = crop_size

test_pipeline = _base_.test_pipeline
test_pipeline[1].scale = (2048, 1024)

tta_pipeline = _base_.tta_pipeline
tta_pipeline[1].transforms[0] = [
    dict(type='ResizeShortestEdge', scale=side, max_size=100000)
    for side in (896, 896, 1024, 1280, 1536, 1792, 2048)
]

train_dataloader = dict(
    dataset=dict(
        type='CityscapesDataset',
        data_root=data_root,
        data_prefix=dict(img_path='leftImg8bit/train', seg_map_path='gtFine/train'),
        pipeline=train_pipeline,
    ),
)
val_dataloader = dict(
    dataset=dict(
        type='CityscapesDataset',
        data_root=data_root,
        data_prefix=dict(img_path='leftImg8bit/val', seg_map_path='gtFine/val'),
        pipeline=test_pipeline,
    ),
)
test_dataloader = val_dataloader
