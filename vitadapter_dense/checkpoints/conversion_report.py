"""What became of each tensor of a file when its names and sizes were converted."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from torch import Tensor


def traceable(state_dict: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The same tensors as autograd's leaves, so that what is made of them leads back to them."""
    return {
        name: tensor.detach().requires_grad_(tensor.is_floating_point())
        for name, tensor in state_dict.items()
    }


def origins(tensor: Tensor, names: Mapping[int, str]) -> set[str]:
    """Which tensors of the file one of the result was made of; `names` by the tensors' ids."""
    if id(tensor) in names:
        return {names[id(tensor)]}
    found, seen, pending = set(), set(), [tensor.grad_fn]
    while pending:
        node = pending.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        if (leaf := getattr(node, 'variable', None)) is not None and id(leaf) in names:
            found.add(names[id(leaf)])
        pending += [parent for parent, _ in node.next_functions]
    return found


def report(before: Mapping[str, Tensor], after: Mapping[str, Tensor]) -> list[str]:
    """One line a key of the file, one for each key that is only in the result, and a summary.

    Args:
        before: of the file, made `traceable`.
        after: what became of it.
    """
    names = {id(tensor): name for name, tensor in before.items()}
    made_of = {
        name: origins(tensor, names) or ({name} & before.keys()) for name, tensor in after.items()
    }
    lines = []
    for name, tensor in sorted(before.items()):
        shape = tuple(tensor.shape)
        targets = [target for target, sources in made_of.items() if name in sources]
        if not targets:
            lines.append(f'left out   {name} {shape}')
        for target in targets:
            new = after[target]
            if len(made_of[target]) > 1:
                change = 'joined'
            elif new.numel() != tensor.numel():
                change = 'resized'
            elif new.shape != tensor.shape:
                change = 'reshaped'
            else:
                change = 'kept' if target == name else 'renamed'
            arrow = '' if change == 'kept' else f' -> {target} {tuple(new.shape)}'
            lines.append(f'{change:<10} {name} {shape}{arrow}')
    lines += [
        f'made       {name} {tuple(after[name].shape)}'
        for name in sorted(after)
        if not made_of[name]
    ]
    counts = Counter(line[:10].strip() for line in lines)
    return [*lines, 'keys: ' + ', '.join(f'{count} {word}' for word, count in counts.items())]
