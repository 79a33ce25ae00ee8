"""DINO and Deformable DETR as graphs: one image in, a fixed number of objects out.

MMDetection asks its data samples how much of an image is padding; here that is an input, and the
shapes of levels are host integers.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from vitadapter_dense.export.expectations import expect

_EDGE = 0.01  # proposals nearer to a border than this, of the image, are left out


class DINOGraph(nn.Module):
    """A normalised image `(1, 3, H, W)` and its own height and width `(2,)` -> objects.

    Outputs are `boxes (K, 4)` in pixels of the input, `scores (K,)`, falling, and `labels (K,)`; K
    is the configuration's `max_per_img`.

    Args:
        model: MMDetection's `DINO`.

    Raises:
        ValueError: a part that the graph does not know, by name.
    """

    task = 'instances'
    input_names = ('images', 'image_size')
    output_names = ('boxes', 'scores', 'labels')
    head, decoder = 'DINOHead', 'DinoTransformerDecoder'

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model
        head = model.bbox_head
        expect('bbox_head', type(head).__name__, (self.head,))
        expect('bbox_head.loss_cls.use_sigmoid', head.loss_cls.use_sigmoid, (True,))
        expect('decoder', type(model.decoder).__name__, (self.decoder,))
        expect('as_two_stage', model.as_two_stage, (True,))
        encoder = type(model.encoder).__name__
        expect('encoder', encoder, ('DeformableDetrTransformerEncoder',))
        positions = type(model.positional_encoding).__name__
        expect('positional_encoding', positions, ('SinePositionalEncoding',))

    @property
    def num_classes(self) -> int:
        """Of objects."""
        return self.model.bbox_head.num_classes

    @property
    def fewest_pixels(self) -> int:
        """A side of the smallest square that has as many tokens as there are queries."""
        with torch.no_grad():
            parameter = next(self.model.parameters())
            maps = self.model.extract_feat(parameter.new_zeros((1, 3, 256, 256)))
        tokens_of_pixel = sum(feat.shape[2] * feat.shape[3] for feat in maps) / 256**2
        return int((self.model.num_queries / tokens_of_pixel) ** 0.5) + 32

    def forward(self, images: Tensor, image_size: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """See the class."""
        model = self.model
        maps = model.extract_feat(images)
        shapes = [(feat.shape[2], feat.shape[3]) for feat in maps]
        inside = [_inside(feat, images, image_size) for feat in maps]  # of each: rows, columns
        outside = [~(rows[:, None] & columns)[None] for rows, columns in inside]
        ratios = torch.stack([_share(*pair) for pair in inside])[None]  # (1, L, 2)
        memory_mask = torch.cat([mask.flatten(1) for mask in outside], dim=1)
        memory = self._encoded(maps, outside, memory_mask, shapes, ratios)
        proposals = self._proposals(memory, memory_mask, shapes, inside)
        decoded = model.forward_decoder(
            **self._queries(proposals),
            memory=memory,
            memory_mask=memory_mask,
            reference_points=proposals.sigmoid(),
            spatial_shapes=shapes,
            level_start_index=None,
            valid_ratios=ratios,
        )
        classes, boxes = self._last(**decoded)
        return self._chosen(classes, boxes, image_size)

    def _last(self, hidden_states: Tensor, references: list[Tensor]) -> tuple[Tensor, Tensor]:
        """What the last layer says: logits `(Q, C)` and boxes `(Q, 4)`."""
        classes, boxes = self.model.bbox_head(hidden_states, references)
        return classes[-1][0], boxes[-1][0]

    def _encoded(
        self,
        maps: Sequence[Tensor],
        outside: Sequence[Tensor],
        memory_mask: Tensor,
        shapes: Sequence[tuple[int, int]],
        ratios: Tensor,
    ) -> Tensor:
        """`(1, S, C)`: the levels behind one another, encoded."""
        model = self.model
        memory = torch.cat([feat.flatten(2).transpose(1, 2) for feat in maps], dim=1)
        positions = torch.cat(
            [
                model.positional_encoding(mask).flatten(2).transpose(1, 2) + embedding
                for mask, embedding in zip(outside, model.level_embed, strict=True)
            ],
            dim=1,
        )
        points = [
            _centres(*shape, memory) / ratios[:, level] / _sizes(*shape, memory)
            for level, shape in enumerate(shapes)
        ]
        reference_points = torch.cat(points)[None, :, None] * ratios[:, None]  # (1, S, L, 2)
        for layer in model.encoder.layers:
            memory = layer(
                query=memory,
                query_pos=positions,
                key_padding_mask=memory_mask,
                spatial_shapes=shapes,
                level_start_index=None,
                valid_ratios=ratios,
                reference_points=reference_points,
            )
        return memory

    def _proposals(
        self,
        memory: Tensor,
        memory_mask: Tensor,
        shapes: Sequence[tuple[int, int]],
        inside: Sequence[tuple[Tensor, Tensor]],
    ) -> Tensor:
        """`(1, Q, 4)`, logits: where the queries begin, at the tokens that promise most."""
        model, head, last = self.model, self.model.bbox_head, self.model.decoder.num_layers
        boxes = []
        for level, (shape, (rows, columns)) in enumerate(zip(shapes, inside, strict=True)):
            real = torch.stack([columns.sum(), rows.sum()]).to(memory.dtype)
            centres = _centres(*shape, memory) / real
            boxes.append(torch.cat([centres, torch.full_like(centres, 0.05 * 2**level)], dim=-1))
        box = torch.cat(boxes)[None]
        usable = ((box > _EDGE) & (box < 1 - _EDGE)).all(-1, keepdim=True) & ~memory_mask[..., None]
        logits = torch.log(box / (1 - box)).masked_fill(~usable, float('inf'))
        tokens = model.memory_trans_fc(memory.masked_fill(~usable, 0.0))
        tokens = model.memory_trans_norm(tokens)
        promise = self._promise(head.cls_branches[last](tokens))
        best = promise.topk(model.num_queries, dim=1).indices[..., None].expand(-1, -1, 4)
        return (head.reg_branches[last](tokens) + logits).gather(1, best)

    def _promise(self, classes: Tensor) -> Tensor:
        """`(1, S, C)` -> `(1, S)`: how much a token looks like an object."""
        return classes.max(-1).values

    def _queries(self, proposals: Tensor) -> dict[str, Tensor]:
        """What the decoder is given as queries."""
        return dict(query=self.model.query_embedding.weight[None])

    def _chosen(
        self, classes: Tensor, boxes: Tensor, image_size: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """The objects, of logits `(Q, C)` and boxes `(Q, 4)`: centre and size, 0 to 1."""
        config = self.model.bbox_head.test_cfg or {}
        count = config.get('max_per_img', classes.shape[0])
        scores, best = classes.sigmoid().flatten().topk(count)
        centre, size = boxes[best // classes.shape[1]].split(2, dim=-1)
        corners = torch.cat([centre - size * 0.5, centre + size * 0.5], dim=-1)
        height, width = image_size.unbind()
        sides = torch.stack([width, height, width, height])
        corners = (corners * sides).clamp(min=0.0).minimum(sides)
        return corners, scores, best % classes.shape[1]


class DeformableDETRGraph(DINOGraph):
    """The same of MMDetection's `DeformableDETR` with two stages, whose queries are made of boxes.

    Args:
        model: MMDetection's `DeformableDETR`.
    """

    head, decoder = 'DeformableDETRHead', 'DeformableDetrTransformerDecoder'

    def __init__(self, model: nn.Module) -> None:
        super().__init__(model)
        expect('with_box_refine', model.with_box_refine, (True,))

    def _last(self, hidden_states: Tensor, references: list[Tensor]) -> tuple[Tensor, Tensor]:
        # The head would compute the decoder's boxes again, which ONNX's optimiser breaks on.
        classes = self.model.bbox_head.cls_branches[len(hidden_states) - 1]
        return classes(hidden_states[-1])[0], references[-1][0]

    def _promise(self, classes: Tensor) -> Tensor:
        return classes[..., 0]  # the only channel that its first stage trains

    def _queries(self, proposals: Tensor) -> dict[str, Tensor]:
        model = self.model
        made = model.pos_trans_norm(model.pos_trans_fc(model.get_proposal_pos_embed(proposals)))
        query_pos, query = made.chunk(2, dim=2)
        return dict(query=query, query_pos=query_pos)


def _inside(feat: Tensor, images: Tensor, image_size: Tensor) -> tuple[Tensor, Tensor]:
    """Which rows and columns of a map are no padding: the nearest pixel's word counts."""
    found = []
    for axis in (2, 3):
        number = torch.arange(feat.shape[axis], device=feat.device).to(feat.dtype)
        step = feat.new_full((1,), images.shape[axis]) / feat.new_full((1,), feat.shape[axis])
        found.append((number * step).floor() < image_size[axis - 2])
    return found[0], found[1]


def _share(rows: Tensor, columns: Tensor) -> Tensor:
    """`(2,)`: how much of the width and of the height is no padding."""
    return torch.stack([columns.float().mean(), rows.float().mean()])


def _centres(height: int, width: int, like: Tensor) -> Tensor:
    """`(H*W, 2)`: x and y of the pixels' centres."""
    y = torch.arange(height, device=like.device).to(like.dtype) + 0.5
    x = torch.arange(width, device=like.device).to(like.dtype) + 0.5
    y, x = torch.meshgrid(y, x, indexing='ij')
    return torch.stack([x.flatten(), y.flatten()], dim=-1)


def _sizes(height: int, width: int, like: Tensor) -> Tensor:
    return torch.cat([like.new_full((1,), width), like.new_full((1,), height)])
