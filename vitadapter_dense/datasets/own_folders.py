"""Images in a folder a class, as `ListedImages` reads them."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

from .converted_folder import fingerprint, make_folder
from .errors import DatasetError
from .labelled_images import is_image, shown_size, split_in, walk_files
from .own_request import OwnData, Request, needed_split, say_split
from .splitting import split_off

_SAMPLED = 500  # images whose sizes are read
Labelled = tuple[Path, str]


def has_folders(root: Path) -> bool:
    """Whether images lie in two folders or more, which may be classes."""
    return len({name for found in _find(root).values() for _, name in found}) > 1


def prepare_folders(request: Request) -> OwnData:
    """List the images of each class; a validation set is split off class by class.

    Raises:
        DatasetError: naming the folder and the mend.
    """
    root, remarks = request.root, []
    found = _find(root)
    split = needed_split(sorted(found), root)
    train = [*found.get('train', ()), *found.get('all', ())]
    val = found.get('val', [])
    remarks += ['a test set is there, too; the config leaves it alone'] if 'test' in found else []
    if split:
        train, val = _split_classes(train, request)
        remarks.append(say_split(request, (len(train), len(val))) + ', class by class')
    names = {name for _, name in (*train, *val)}
    classes = request.classes or tuple(sorted(names))
    unknown = sorted(names - {*classes})
    if unknown or len(classes) < 2:
        what = f'the folder {unknown[0]!r} is none of --classes' if unknown else 'one class only'
        raise DatasetError(f'{root}: {what}. Mend: a folder for each class, and its name')
    few = sorted({*classes} - {name for _, name in train})
    if few:
        raise DatasetError(f'{root}: the class {few[0]!r} has no image to train on')
    entries = _lists(request, classes, train, val, remarks)
    step = max(1, len(train) // _SAMPLED)
    sizes = [shown_size(path) for path, _ in train[::step]]
    return OwnData(
        layout='a folder a class',
        classes=classes,
        train=entries[0],
        val=entries[1],
        counts=(len(train), len(val)),
        sizes=[size for size in sizes if size],
        example=val[0][0],
        remarks=remarks,
    )


def _find(root: Path) -> dict[str, list[Labelled]]:
    """Split -> images with their class: the first folder that is no split's; `all` without one."""
    found: dict[str, list[Labelled]] = defaultdict(list)
    for path in walk_files(root):
        parts = path.relative_to(root).parts[:-1]
        split = split_in(Path(parts[0], '_')) if parts else None
        names = [part for part in parts[bool(split) :] if part.lower() != 'images']
        if names and is_image(path):
            found[split or 'all'].append((path, names[0]))
    return found


def _split_classes(
    images: Sequence[Labelled], request: Request
) -> tuple[list[Labelled], list[Labelled]]:
    """Every class with two images or more gives its share; one with a single image is learnt."""
    by_class: dict[str, list[Labelled]] = defaultdict(list)
    for image in images:
        by_class[image[1]].append(image)
    train, val = [], []
    for own in by_class.values():
        if len(own) < 2:
            train += own
            continue
        parts = split_off(own, share=request.val_share, seed=request.seed)
        train += parts[0]
        val += parts[1]
    if not val:
        raise DatasetError(
            f'{request.root}: no class has two images, so that none can be kept for validation'
        )
    return train, val


def _lists(
    request: Request,
    classes: Sequence[str],
    train: Sequence[Labelled],
    val: Sequence[Labelled],
    remarks: list[str],
) -> tuple[dict, dict]:
    """A list of either set beside the data, as paths and labels."""
    labels = {name: label for label, name in enumerate(classes)}

    def write(folder: Path) -> None:
        for name, part in (('train', train), ('val', val)):
            lines = [f'{os.path.relpath(path, request.root)} {labels[own]}' for path, own in part]
            (folder / f'{name}.txt').write_text('\n'.join(lines) + '\n', encoding='utf-8')

    source = dict(
        task=request.task,
        val_share=request.val_share,
        seed=request.seed,
        classes=list(classes),
        fingerprint=fingerprint([path for path, _ in (*train, *val)], request.root),
    )
    done = make_folder(request.target, source, write, replace=request.replace)
    remarks.append(f'{done} {request.target}')
    inside = os.path.relpath(request.target, request.root)
    return dict(ann_file=f'{inside}/train.txt'), dict(ann_file=f'{inside}/val.txt')
