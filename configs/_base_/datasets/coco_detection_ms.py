"""COCO 2017 boxes, multi-scale training: the instances' pipelines without their masks."""

_base_ = './coco_instance_ms.py'


def without_masks(part: object) -> object:
    """The same pipeline, in which annotations are boxes and labels alone."""
    if isinstance(part, (list, tuple)):
        return type(part)(without_masks(each) for each in part)
    if not isinstance(part, dict):
        return part
    if part.get('type') == 'LoadAnnotations':
        return dict(type='LoadAnnotations', with_bbox=True)
    return {key: without_masks(value) for key, value in part.items()}


train_pipeline = without_masks(_base_.train_pipeline)
test_pipeline = without_masks(_base_.test_pipeline)
tta_pipeline = without_masks(_base_.tta_pipeline)

train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(pipeline=test_pipeline))
test_dataloader = val_dataloader

val_evaluator = dict(metric='bbox')
test_evaluator = val_evaluator
