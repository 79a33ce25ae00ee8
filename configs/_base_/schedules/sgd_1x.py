"""SGD, 12 epochs (1x), as MMDetection trains its R50-FPN detectors.

Source: MMDetection, configs/_base_/schedules/schedule_1x.py. How Pro-Tuning was trained is not
public; the rate is the same for every tuning method, and wants a search for each.
"""

_base_ = './adamw_1x.py'

optim_wrapper = dict(
    _delete_=True,
    type='OptimWrapper',
    optimizer=dict(type='SGD', lr=0.02, momentum=0.9, weight_decay=1e-4),
)
