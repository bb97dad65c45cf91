"""The structure of TIFF files: directories as raw values, and a file put together from them.

GDAL encodes blocks and metadata; what stands here only finds its bytes and places them anew, so
that a Cloud Optimized GeoTIFF can be made of blocks that are already compressed. Specifications:
TIFF 6.0, BigTIFF, and GDAL's notes on the COG driver for the order and the frame of the blocks.
"""

import struct
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import BinaryIO, NamedTuple

import numpy as np

SUBFILE, WIDTH, HEIGHT, OFFSETS, COUNTS = 254, 256, 257, 324, 325
"""Tags that the writer sets; the last two are those of tiles."""
GEOGRAPHY = (33550, 33922, 34264, 34735, 34736, 34737)
"""Tags that say where a raster lies."""
GDAL_METADATA = 42112
"""The tag of names, descriptions, scales."""
_SHORT, _LONG, _LONG8 = 3, 4, 16
_BYTES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4,
          16: 8, 17: 8, 18: 8}  # fmt: skip
_INTEGERS = {_SHORT: "u2", _LONG: "u4", _LONG8: "u8"}
_ORDER, _MARK = ("<", b"II") if sys.byteorder == "little" else (">", b"MM")
_FRAME = 4  # bytes before and after each block
_LARGEST = (1 << 32) - 1
_BIG = 43  # the version of BigTIFF; that of TIFF is 42
_STRUCTURE = (
    "LAYOUT=IFDS_BEFORE_DATA\n"
    "BLOCK_ORDER=ROW_MAJOR\n"
    "BLOCK_LEADER=SIZE_AS_UINT4\n"
    "BLOCK_TRAILER=LAST_4_BYTES_REPEATED\n"
    "KNOWN_INCOMPATIBLE_EDITION=NO\n "
)
# Says that the leader and trailer of every block, and the order of the file, can be relied upon.


class Field(NamedTuple):
    """A directory's entry."""

    kind: int
    """TIFF's number of the type."""
    length: int
    """Number of values."""
    data: bytes
    """The values, in the machine's byte order."""


Directory = dict[int, Field]
"""Entries by tag."""
Block = tuple[int, int]
"""Offset and length in bytes."""


@dataclass(frozen=True)
class Level:
    """One resolution of a raster."""

    directory: Directory
    """All but offsets and lengths of the blocks."""
    blocks: Sequence[Block]
    """Where the blocks lie in the file that they are taken from, row by row."""


class _Form(NamedTuple):
    """How the two kinds of TIFF store their numbers, in the terms of ``struct``."""

    offset: str
    """A position in the file."""
    size: str
    """A directory's number of entries."""
    entry: str
    """Tag, type and number of values of an entry."""
    inline: int
    """Bytes of a value that stands in the entry itself."""

    @property
    def frame(self) -> int:
        """Bytes of a directory beside its entries."""
        return struct.calcsize(self.size) + self.inline

    @property
    def step(self) -> int:
        """Bytes of an entry."""
        return struct.calcsize(self.entry) + self.inline


_CLASSIC_FORM = _Form(f"{_ORDER}I", f"{_ORDER}H", f"{_ORDER}HHI", 4)
_BIG_FORM = _Form(f"{_ORDER}Q", f"{_ORDER}Q", f"{_ORDER}HHQ", 8)


def read_directory(data: memoryview) -> Directory:
    """The first directory of a TIFF in the machine's byte order, as GDAL writes it."""
    form = _BIG_FORM if struct.unpack_from(f"{_ORDER}H", data, 2)[0] == _BIG else _CLASSIC_FORM
    (start,) = struct.unpack_from(form.offset, data, form.inline)
    (entries,) = struct.unpack_from(form.size, data, start)
    start += struct.calcsize(form.size)
    directory = {}
    for place in range(start, start + entries * form.step, form.step):
        tag, kind, length = struct.unpack_from(form.entry, data, place)
        value = place + struct.calcsize(form.entry)
        size = _BYTES[kind] * length
        if size > form.inline:
            (value,) = struct.unpack_from(form.offset, data, value)
        directory[tag] = Field(kind, length, bytes(data[value : value + size]))
    return directory


def read_blocks(data: memoryview) -> list[memoryview]:
    """The compressed blocks of a tiled TIFF of one directory, in the order of its tiles."""
    directory = read_directory(data)
    offsets, counts = (
        np.frombuffer(field.data, _INTEGERS[field.kind]).tolist()
        for field in (directory[OFFSETS], directory[COUNTS])
    )
    return [data[at : at + size] for at, size in zip(offsets, counts, strict=True)]


def overview_of(directory: Directory, height: int, width: int) -> Directory:
    """The directory of an overview: as the raster's, but for place, names and size."""
    kept = {
        tag: field
        for tag, field in directory.items()
        if tag not in GEOGRAPHY and tag != GDAL_METADATA
    }
    return kept | {SUBFILE: _long(1), WIDTH: _long(width), HEIGHT: _long(height)}


def write_cog(target: BinaryIO, levels: Sequence[Level], source: BinaryIO) -> None:
    """Write a Cloud Optimized GeoTIFF: directories first, then blocks, the coarsest level's first.

    Args:
        target: the new file.
        levels: from fine to coarse.
        source: the file that their blocks lie in.
    """
    data = sum(size + 2 * _FRAME for level in levels for _, size in level.blocks)
    form = _CLASSIC_FORM
    if _starts(levels, form)[-1] + data > _LARGEST:
        form = _BIG_FORM
    starts = _starts(levels, form)
    directories = []
    position = starts[-1]
    for number in reversed(range(len(levels))):
        following = starts[number + 1] if number + 1 < len(levels) else 0
        places = []
        for _, size in levels[number].blocks:
            places.append(position + _FRAME)
            position += size + 2 * _FRAME
        directory = _placed(levels[number], places, form)
        directories.append(_encoded(directory, starts[number], following, form))
    target.write(_head(form))
    target.writelines(reversed(directories))
    for level in reversed(levels):
        for place, size in level.blocks:
            source.seek(place)
            block = source.read(size)
            target.write(struct.pack("<I", size) + block + block[-_FRAME:])


def _head(form: _Form) -> bytes:
    """What stands before the first directory."""
    structure = f"GDAL_STRUCTURAL_METADATA_SIZE={len(_STRUCTURE):06d} bytes\n{_STRUCTURE}".encode()
    start = (_MARK + struct.pack(f"{_ORDER}HHH", _BIG, 8, 0)) if form is _BIG_FORM else (
        _MARK + struct.pack(f"{_ORDER}H", 42)
    )  # fmt: skip
    end = _aligned(len(start) + form.inline + len(structure))
    return (start + struct.pack(form.offset, end) + structure).ljust(end, b"\0")


def _starts(levels: Sequence[Level], form: _Form) -> list[int]:
    """Where the directories begin, and where the last of them ends."""
    starts = [len(_head(form))]
    for level in levels:
        nowhere = _placed(level, [0] * len(level.blocks), form)
        starts.append(starts[-1] + len(_encoded(nowhere, starts[-1], 0, form)))
    return starts


def _placed(level: Level, places: list[int], form: _Form) -> Directory:
    """A level's directory with the places of its blocks."""
    kind = _LONG8 if form is _BIG_FORM else _LONG
    lengths = [size for _, size in level.blocks]
    return level.directory | {
        OFFSETS: Field(kind, len(places), np.array(places, _INTEGERS[kind]).tobytes()),
        COUNTS: Field(_LONG, len(lengths), np.array(lengths, _INTEGERS[_LONG]).tobytes()),
    }


def _encoded(directory: Directory, start: int, following: int, form: _Form) -> bytes:
    """A directory as it stands at ``start``, behind it the values that do not fit into it."""
    behind = start + form.frame + len(directory) * form.step
    entries, values = b"", b""
    for tag, (kind, length, data) in sorted(directory.items()):
        own = data
        if len(data) > form.inline:
            values = values.ljust(_aligned(behind + len(values)) - behind, b"\0")
            own = struct.pack(form.offset, behind + len(values))
            values += data
        entries += struct.pack(form.entry, tag, kind, length) + own.ljust(form.inline, b"\0")
    size = struct.pack(form.size, len(directory))
    whole = size + entries + struct.pack(form.offset, following) + values
    return whole.ljust(_aligned(start + len(whole)) - start, b"\0")


def _long(value: int) -> Field:
    return Field(_LONG, 1, struct.pack(f"{_ORDER}I", value))


def _aligned(position: int) -> int:
    """The next multiple of 8: values begin on even bytes, BigTIFF's better on eighths."""
    return -(-position // 8) * 8
