"""ImageNet-C, one corruption at one severity: data/imagenet-c/<corruption>/<severity>/<n01440764>/.

`--cfg-options test_dataloader.dataset.data_prefix.img=gaussian_noise/5/` chooses another. The
images are 224 x 224 already.
"""

_base_ = './imagenet_a.py'

data_root = 'data/imagenet-c/'

test_pipeline = [dict(type='LoadImageChecked'), dict(type='PackInputs')]
test_dataloader = dict(
    dataset=dict(
        data_root=data_root,
        data_prefix=dict(img='gaussian_noise/3/'),
        pipeline=test_pipeline,
    )
)
test_evaluator = dict(among='all')
