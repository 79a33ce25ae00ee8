"""Learning without Forgetting on the outputs (Li and Hoiem, https://arxiv.org/abs/1606.09282).

T = 2, and new classes learn on their own rows, as in LibContinual's core/model/lwf.py; the weight
is ours.
"""

_base_ = './classifier_vit_xs_shapes.py'

continual = dict(distill=dict(weight=2.0, temperature=2.0), logits='task')
