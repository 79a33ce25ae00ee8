"""The first step trains the model, the others nothing but rows of the classifiers (ours).

After DFT* (https://arxiv.org/abs/2508.04267), with the last model's labels in the background.
"""

_base_ = './upernet_vitadapter_xs_shapes_3_1.py'

continual = dict(rows='task', freeze_rest=True, pseudo_labels=dict(threshold=0.4))
