"""Arrow columns made from buffers.

``pyarrow.array`` imports pandas, if it is installed, to see whether it was given a series: 40 MB
and almost half a second. And where the command line keeps pandas out, it fails.
"""

from collections.abc import Sequence

import numpy as np
import pyarrow as pa


def numbers(values: np.ndarray) -> pa.Array:
    """A column of numbers, ``(n,)`` of any dtype; NaN stays NaN."""
    values = np.ascontiguousarray(values)
    buffers = [None, pa.py_buffer(values)]
    return pa.Array.from_buffers(pa.from_numpy_dtype(values.dtype), len(values), buffers)


def binary(values: Sequence[bytes]) -> pa.Array:
    """A column of bytes, less than 2 GiB together."""
    offsets = np.zeros(len(values) + 1, np.int32)
    np.cumsum([len(value) for value in values], out=offsets[1:])
    buffers = [None, pa.py_buffer(offsets), pa.py_buffer(b"".join(values))]
    return pa.BinaryArray.from_buffers(pa.binary(), len(values), buffers)


def repeated(text: str, count: int) -> pa.Array:
    """A column of ``count`` times the same text."""
    data = text.encode()
    offsets = np.arange(count + 1, dtype=np.int32) * np.int32(len(data))
    return pa.StringArray.from_buffers(count, pa.py_buffer(offsets), pa.py_buffer(data * count))
