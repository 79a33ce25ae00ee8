"""Whether an image file is whole: what a JPEG, PNG or WebP lacks at its end."""

from __future__ import annotations

import re

_JPEG_START, _JPEG_END = b'\xff\xd8', b'\xff\xd9'
_PNG_START = b'\x89PNG\r\n\x1a\n'
#: in entropy-coded data: any marker but a stuffed byte, a fill byte or a restart
_JPEG_MARKER = re.compile(rb'\xff[^\x00\xff\xd0-\xd7]')


def find_truncation(data: bytes) -> str | None:
    """What a JPEG, PNG or WebP file lacks at its end; None if it is whole or of another format."""
    if data.startswith(_JPEG_START):
        if not data.endswith(_JPEG_END) and not _has_jpeg_end(data):
            return 'the end-of-image marker of the JPEG is missing'
    elif data.startswith(_PNG_START):
        if b'IEND' not in data[-64:] and b'IEND' not in data:
            return 'the IEND chunk of the PNG is missing'
    elif data.startswith(b'RIFF') and data[8:12] == b'WEBP':
        size = int.from_bytes(data[4:8], 'little') + 8
        if len(data) < size:
            return f'the WebP should have {size} bytes'
    return None


def _has_jpeg_end(data: bytes) -> bool:
    """Walk a JPEG to its end marker; bytes may follow that, and thumbnails hold another one."""
    position = 2
    while position + 4 <= len(data):
        if data[position] != 0xFF:
            return False
        marker = data[position + 1]
        if marker == 0xFF:  # a fill byte
            position += 1
            continue
        if marker == 0xD9:
            return True
        position += 2 + int.from_bytes(data[position + 2 : position + 4], 'big')
        if marker == 0xDA:  # start of scan: entropy-coded data follows
            found = _JPEG_MARKER.search(data, position)
            if found is None:
                return False
            position = found.start()
    return data[position : position + 2] == _JPEG_END
