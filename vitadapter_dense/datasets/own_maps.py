"""Images with label maps, as `BaseSegDataset` reads them."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image

from .converted_folder import fingerprint, hash_of, make_folder
from .errors import DatasetError
from .find_maps import Pair, common_suffixes, find_maps
from .labelled_images import shown_size
from .map_numbering import Numbering, find_numbering, read_codes, renumber
from .own_request import OwnData, Request, needed_split, say_split
from .problems import Problems
from .processes import map_in_processes
from .splitting import split_off

_SAMPLED = 500  # maps whose values are read, and sizes, where the maps can stay


def prepare_maps(request: Request) -> OwnData:
    """Pair images and maps; write lists of names, or other maps, where the folders do not do.

    Raises:
        DatasetError: naming the file and the mend.
    """
    root = request.root
    found = find_maps(root)
    remarks = []
    for what, files in (
        ('images without a label map, left out', found.lonely_images),
        ('label maps without an image, left out', found.lonely_maps),
    ):
        remarks += [f'{what} ({len(files)}): first {files[0]}'] if files else []
    splits = {pair.split for pair in found.pairs}
    remarks += ['a test set is there, too; the config leaves it alone'] if 'test' in splits else []
    train = [pair for pair in found.pairs if pair.split in ('train', 'all')]
    val = [pair for pair in found.pairs if pair.split == 'val']
    split = needed_split(sorted(splits), root)
    if split:
        train, val = split_off(train, share=request.val_share, seed=request.seed)
        remarks.append(say_split(request, (len(train), len(val))))
    numbering = _numbering(request, train + val)
    remarks += numbering.remarks
    entries, common = None, {}
    if not numbering.table and not split:
        entries, common = _folders(request, train, val, others=found.lonely_images)
    if entries is None:
        entries, common = _lists(request, train, val, numbering, remarks)
    if numbering.reduce_zero_label:
        common['reduce_zero_label'] = True
    step = max(1, len(train) // _SAMPLED)
    sizes = [shown_size(pair.image) for pair in train[::step]]
    return OwnData(
        layout='images and label maps',
        classes=numbering.classes,
        train=entries[0],
        val=entries[1],
        counts=(len(train), len(val)),
        sizes=[size for size in sizes if size],
        example=val[0].image,
        common=common,
        remarks=remarks,
    )


def _numbering(request: Request, pairs: Sequence[Pair]) -> Numbering:
    """From some of many maps, where these can stay; else from all."""
    maps = [pair.label_map for pair in pairs]
    for looked_at in (maps[:: max(1, len(maps) // _SAMPLED)], maps):
        found = _occurring(looked_at, request.workers, request.root)
        numbering = find_numbering(
            request.root,
            {code for codes, _ in found for code in codes},
            in_place=all(plain for _, plain in found),
            classes=request.classes,
            reduce_zero_label=request.reduce_zero_label,
        )
        if not numbering.table or len(looked_at) == len(maps):
            break
    return numbering


def _occurring(maps: Sequence[Path], workers: int, root: Path) -> list[tuple[set[int], bool]]:
    """What each map holds, and whether its file can stay."""
    problems, found = Problems(), []
    for result in map_in_processes(_look, maps, workers=_processes(maps, workers)):
        if isinstance(result, str):
            problems.add('broken label map', result)
        else:
            found.append(result)
    problems.raise_if_any(str(root))
    return found


def _processes(items: Sequence, workers: int) -> int:
    """One for a few files: a second takes longer to start."""
    return workers if len(items) >= 64 else 1


def _look(path: Path) -> tuple[set[int], bool] | str:
    try:
        codes = read_codes(path)
    except DatasetError as error:
        return str(error)
    with Image.open(path) as picture:
        plain = picture.mode in ('1', 'L', 'P', 'I', 'I;16') and codes.max(initial=0) < 256
    return {int(code) for code in np.unique(codes)}, plain


def _folders(
    request: Request, train: Sequence[Pair], val: Sequence[Pair], *, others: Sequence[Path]
) -> tuple[tuple[dict, dict] | None, dict]:
    """Folders whose whole content is a split, with one pair of endings; None where they are not."""
    entries, endings = [], set()
    for pairs in (train, val):
        roots = _parent(p.image for p in pairs), _parent(p.label_map for p in pairs)
        suffixes = common_suffixes(pairs, roots)
        if suffixes is None or any(roots[0] in image.parents for image in others):
            return None, {}
        endings.add(suffixes)
        entries.append(_prefix(request.root, *roots))
        known = {pair.image for pair in pairs}
        ending = suffixes[0]
        inside = (Path(at, n) for at, _, names in os.walk(roots[0]) for n in names)
        if any(str(file).endswith(ending) and file not in known for file in inside):
            return None, {}
    if len(endings) > 1:
        return None, {}
    return (entries[0], entries[1]), _endings(*endings.pop())


def _lists(
    request: Request,
    train: Sequence[Pair],
    val: Sequence[Pair],
    numbering: Numbering,
    remarks: list[str],
) -> tuple[tuple[dict, dict], dict]:
    """Lists of names, and where it takes that, maps by other names."""
    pairs = [*train, *val]
    roots = _parent(p.image for p in pairs), _parent(p.label_map for p in pairs)
    suffixes = None if numbering.table else common_suffixes(pairs, roots)
    names = [os.path.relpath(pair.image, roots[0]) for pair in pairs]
    ending, map_ending = suffixes or ('', '.png')
    names = [name.removesuffix(ending) for name in names]
    target = request.target

    def write(folder: Path) -> None:
        for name, part in (('train', names[: len(train)]), ('val', names[len(train) :])):
            (folder / f'{name}.txt').write_text('\n'.join(part) + '\n', encoding='utf-8')
        if suffixes is None:
            jobs = [
                (p.label_map, folder / 'maps' / f'{n}.png')
                for p, n in zip(pairs, names, strict=True)
            ]
            for path in {job[1].parent for job in jobs}:
                path.mkdir(parents=True, exist_ok=True)
            problems = Problems()
            rewrite = partial(_rewrite, table=numbering.table)
            for problem in filter(
                None, map_in_processes(rewrite, jobs, workers=_processes(jobs, request.workers))
            ):
                problems.add('label map', problem)
            problems.raise_if_any(str(request.root))

    source = dict(
        task=request.task,
        val_share=request.val_share,
        seed=request.seed,
        fingerprint=fingerprint([pair.label_map for pair in pairs], request.root),
        contents=hash_of(
            [names[: len(train)], names[len(train) :], sorted(numbering.table.items())]
        ),
    )
    how = make_folder(target, source, write, replace=request.replace)
    what = 'lists of names' if suffixes else 'lists of names, and label maps of class numbers'
    remarks.append(f'{how} {target}/: {what}; the images stay where they are')
    inside = os.path.relpath(target, request.root)
    prefix = _prefix(request.root, *roots)
    if suffixes is None:
        prefix['data_prefix']['seg_map_path'] = f'{inside}/maps'
    entries = [dict(prefix, ann_file=f'{inside}/{name}.txt') for name in ('train', 'val')]
    return (entries[0], entries[1]), _endings(ending, map_ending)


def _rewrite(job: tuple[Path, Path], table: dict[int, int]) -> str | None:
    source, target = job
    try:
        codes = read_codes(source)
        numbers = renumber(codes, table, source) if table else codes.astype(np.uint8)
    except DatasetError as error:
        return str(error)
    Image.fromarray(numbers).save(target)
    return None


def _prefix(root: Path, images: Path, maps: Path) -> dict:
    places = dict(img_path=images, seg_map_path=maps)
    return dict(data_prefix={key: os.path.relpath(path, root) for key, path in places.items()})


def _endings(image: str, label_map: str) -> dict:
    return dict(img_suffix=image, seg_map_suffix=label_map)


def _parent(files: Iterable[Path]) -> Path:
    """The folder that holds all files."""
    return Path(os.path.commonpath([file.parent for file in files]))
