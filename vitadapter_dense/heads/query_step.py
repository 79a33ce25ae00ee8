"""``QueryStep``: what Mask2Former gets for classes that come later, and how steps are told apart.

ECLIPSE (Kim et al., CVPR 2024, https://arxiv.org/abs/2403.20126): of a model that has learnt its
first classes nothing changes; each further step adds queries and two small heads, which alone
train. Between the steps' queries nothing is exchanged, so that what the earlier ones say of an
image stays what it was; only the share of "no object" in it is weighed anew.

What is ours: the authors score classes by sigmoids, MMDetection's head by a softmax with "no
object", and so does this; each step has a row of its own for "no object", where theirs train the
first one further; queries are drawn around the first ones' mean, where theirs all begin as it; as
in Mask2Former losses count behind every layer, where theirs count before the first and at the end.
"""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn


class QueryStep(nn.Module):
    """Queries of a step, their places for each layer of the decoder, and their heads.

    Args:
        queries: how many.
        layers: of the decoder.
        mask_embed: of the head that this is a step of.
        num_classes: that come with the step.
    """

    def __init__(self, queries: int, layers: int, mask_embed: nn.Module, num_classes: int) -> None:
        super().__init__()
        width = mask_embed[0].in_features
        self.query_feat = nn.Embedding(queries, width)
        self.query_embed = nn.ModuleList(nn.Embedding(queries, width) for _ in range(layers))
        self.mask_embed = copy.deepcopy(mask_embed)
        self.class_embed = nn.Sequential(
            nn.Linear(width, width),
            nn.ReLU(inplace=True),
            nn.Linear(width, width),
            nn.ReLU(inplace=True),
            nn.Linear(width, num_classes + 1),  # the last one is 'no object'
        )

    @torch.no_grad()
    def start_from(self, head: nn.Module) -> None:
        """Begins as the head is: its mask head, and queries of the same mean and spread.

        The numbers drawn when the step was built are used, which all processes share.
        """
        for own, first in [
            (self.query_feat, head.query_feat),
            *((each, head.query_embed) for each in self.query_embed),
        ]:
            spread, mean = torch.std_mean(first.weight, dim=0, correction=0)
            own.weight.mul_(spread).add_(mean)
        self.mask_embed.load_state_dict(head.mask_embed.state_dict())


def weigh_no_object(own: Tensor, others: Tensor, delta: float) -> Tensor:
    """Probabilities of a step's classes and of no object, with what the other steps know.

    Args:
        own: ``(..., k + 1)``, what the step's head says of its queries; no object is the last.
        others: ``(...)``, the share of classes in what the other steps' heads say of them, summed.
        delta: above 0, a query is of no object where that much of what the others claim (of 1,
            where they claim more) exceeds its likeliest class, and stays as it is elsewhere;
            below 0, no object counts ``-delta`` of what it did beside the classes, whatever the
            others say; 0 changes nothing.
    """
    classes, nothing = own[..., :-1], own[..., -1:]
    if delta < 0:
        weighed = torch.cat([classes, -delta * nothing], dim=-1)
        return weighed / weighed.sum(-1, keepdim=True)
    likeliest = classes.amax(-1, keepdim=True)
    classes = classes * (likeliest >= delta * others.clamp(max=1)[..., None])
    return torch.cat([classes, 1 - classes.sum(-1, keepdim=True)], dim=-1)
