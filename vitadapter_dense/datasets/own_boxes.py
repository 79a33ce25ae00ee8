"""Objects in COCO, YOLO or Pascal VOC format, as `CocoDataset` reads them."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from .converted_folder import fingerprint, hash_of, make_folder
from .errors import DatasetError
from .find_coco import CocoFile, class_names_of, completed, find_coco, relative, unusual_ids
from .labelled_images import to_coco
from .labelled_set import LabelledSet
from .own_request import OwnData, Request, needed_split, say_split
from .read_voc import read_voc, refuse_masks
from .read_yolo import read_yolo
from .splitting import split_off

_SAMPLED = 500  # sizes


def prepare_boxes(request: Request, layout: str) -> OwnData:
    """Read YOLO's or VOC's files, and write COCO's beside them.

    Raises:
        DatasetError: with all problems of all files.
    """
    if layout == 'voc' and request.task == 'instance':
        refuse_masks(request.root)
    reader = read_yolo if layout == 'yolo' else read_voc
    found = reader(request.root, classes=request.classes or None)
    if request.task == 'instance':
        _require_polygons(found)
    found.problems.raise_if_any(str(request.root))
    if not any(image.objects for images in found.images.values() for image in images):
        raise DatasetError(
            f'{request.root}: no object in {sum(map(len, found.images.values()))} images of '
            f'{found.layout}. Mend: is it the folder that holds images and labels?'
        )
    remarks = found.remark_lines()
    train = [*found.images.get('train', []), *found.images.get('all', [])]
    val = found.images.get('val', [])
    if needed_split(list(found.images), request.root):
        flags = [bool(image.objects) for image in train]
        train, val = split_off(
            train, share=request.val_share, seed=request.seed, with_objects=flags
        )
        remarks.append(say_split(request, (len(train), len(val))))
    remarks += _about_test(found.images)

    def write(folder: Path) -> None:
        for name, images in (('train', train), ('val', val)):
            _write_json(folder / f'{name}.json', to_coco(images, found.classes))

    listed = [[[image.file, image.width, image.height] for image in part] for part in (train, val)]
    contents = [found.layout, list(found.classes), listed]
    _convert(request, contents, found.label_files, write, remarks)
    target = relative(request.target, request.root)
    prefix = dict(img='')
    return OwnData(
        layout=found.layout,
        classes=found.classes,
        train=dict(ann_file=f'{target}/train.json', data_prefix=prefix),
        val=dict(ann_file=f'{target}/val.json', data_prefix=prefix),
        counts=(len(train), len(val)),
        sizes=[(i.width, i.height) for i in train[:: max(1, len(train) // _SAMPLED)]],
        example=request.root / val[0].file,
        remarks=remarks,
    )


def _require_polygons(found: LabelledSet) -> None:
    for images in found.images.values():
        for image in images:
            without = [item for item in image.objects if not item.polygons]
            if without:
                found.problems.add(
                    'image with boxes that have no outline',
                    f'{image.file} has {len(without)}; instance segmentation needs polygons. Mend: '
                    '--task detection, or draw them',
                )


def prepare_coco(request: Request) -> OwnData:
    """Find COCO files; they are copied only to be split, or completed where that is no guess.

    Raises:
        DatasetError: naming the file and the mend.
    """
    root = request.root
    files = find_coco(root, request.annotations)
    needs_split = needed_split(list(files), root)
    first = files.get('train') or files['all']
    classes = class_names_of(first.content, first.path)
    if request.classes and request.classes != classes:
        raise DatasetError(
            f'--classes are others than the categories of {first.path}: {", ".join(classes)}. '
            'Mend: leave --classes out; the file has the names and their order.'
        )
    remarks = _about_test(files)
    parts = {'train': first} if needs_split else {'train': first, 'val': files['val']}
    images = {split: _images(file) for split, file in parts.items()}
    if needs_split:
        annotated = {repr(a.get('image_id')) for a in _dicts(first.content['annotations'])}
        train, val = split_off(
            images['train'],
            share=request.val_share,
            seed=request.seed,
            with_objects=[repr(image.get('id')) in annotated for image in images['train']],
        )
        images, parts = dict(train=train, val=val), dict(train=first, val=first)
        remarks.append(say_split(request, (len(train), len(val))))
    lacking = {split: unusual_ids(file.content) for split, file in parts.items()}
    lacking = {split: what for split, what in lacking.items() if what}
    entries = {s: dict(ann_file=relative(f.path, root)) for s, f in parts.items()}
    if needs_split or lacking:
        for split, what in () if needs_split else lacking.items():
            remarks.append(f'{parts[split].path} lacks {what}: added in the copy')
        if needs_split and lacking:
            remarks.append(f'{first.path} lacks {lacking["train"]}: added in the copies')

        def write(folder: Path) -> None:
            for split, file in parts.items():
                others = split == 'train' or not needs_split
                part = completed(file.content, images[split], others=others)
                _write_json(folder / f'{split}.json', part)

        sources = list(dict.fromkeys(file.path for file in parts.values()))
        _convert(request, ['COCO', list(parts)], sources, write, remarks)
        target = relative(request.target, root)
        entries = {split: dict(ann_file=f'{target}/{split}.json') for split in parts}
    for split, file in parts.items():
        inside = relative(file.image_dir, root)
        entries[split]['data_prefix'] = dict(img='' if inside == '.' else f'{inside}/')
    sizes = [(image.get('width'), image.get('height')) for image in images['train']]
    return OwnData(
        layout='COCO',
        classes=classes,
        train=entries['train'],
        val=entries['val'],
        counts=(len(images['train']), len(images['val'])),
        sizes=[(w, h) for w, h in sizes if isinstance(w, int) and isinstance(h, int)],
        example=parts['val'].image_dir / str(images['val'][0].get('file_name')),
        remarks=remarks,
    )


def _images(file: CocoFile) -> list[dict[str, Any]]:
    images = _dicts(file.content['images'])
    if not images:
        raise DatasetError(f'{file.path}: `images` has no entries. Mend: is it the right file?')
    twice = [i for i, n in Counter(repr(image.get('id')) for image in images).items() if n > 1]
    if twice:
        raise DatasetError(
            f'{file.path}: {len(twice)} image ids are there more than once, first {twice[0]}: '
            'whose annotations are whose cannot be told. Mend: make them unique.'
        )
    return images


def _dicts(entries: Sequence[Any]) -> list[dict[str, Any]]:
    return [entry for entry in entries if isinstance(entry, dict)]


def _about_test(splits: Any) -> list[str]:
    return ['a test set is there, too; the config leaves it alone'] if 'test' in splits else []


def _convert(
    request: Request,
    contents: Sequence[Any],
    label_files: Sequence[Path],
    write: Callable[[Path], None],
    remarks: list[str],
) -> None:
    """Write the folder, or find it as it is, and say so.

    Args:
        contents: what it depends on, besides the label files.
    """
    source = dict(
        task=request.task,
        val_share=request.val_share,
        seed=request.seed,
        fingerprint=fingerprint(label_files, request.root),
        contents=hash_of(contents),
    )
    how = make_folder(request.target, source, write, replace=request.replace)
    remarks.append(
        f'{how} {request.target}/ (train.json, val.json); the images stay where they are'
    )


def _write_json(path: Path, content: Any) -> None:
    path.write_text(json.dumps(content), encoding='utf-8')
