"""Read the rows of a parsed object."""

import io
from collections.abc import Iterator
from typing import Any

from arro3.core import RecordBatch
from arro3.io import read_parquet

_MAGIC = b"PAR1"


class NotParquet(ValueError):  # noqa: N818  # reads as what happened
    """An object is not whole Parquet."""


def batches(content: bytes) -> Iterator[RecordBatch]:
    """Yield the row groups of a parsed object, or parts of them.

    Raises:
        NotParquet: It cannot be read to its end.
    """
    if not (content.startswith(_MAGIC) and content.endswith(_MAGIC)):
        raise NotParquet("expected whole Parquet")
    try:
        yield from read_parquet(io.BytesIO(content))
    except GeneratorExit:
        raise
    except BaseException as error:  # arro3 panics, and raises Exception itself
        if isinstance(error, Exception) or type(error).__name__ == "PanicException":
            raise NotParquet("expected whole Parquet") from error
        raise


def row(batch: RecordBatch, place: int) -> dict[str, Any]:
    """One row of a batch, by column."""
    return {name: batch.column(name)[place].as_py() for name in batch.schema.names}
