"""Write batches of rows as one Parquet file, each as a row group.

Pure, except that it writes the file it is given.
"""

from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import Any

from arro3.core import RecordBatch, RecordBatchReader
from arro3.io import write_parquet

from contracts import ROW_FIELDS, Contract
from telemetry_parser.columns import arrow_schema, is_integer
from telemetry_parser.rows import group_rows


def write(path: Path, contract: Contract, batches: Iterator[RecordBatch]) -> int:
    """Write one file and return its size in bytes; without a batch there is no file.

    Raises:
        BaseException: Anything that ``batches`` raises, unchanged.
    """
    first = next(batches, None)
    if first is None:
        return 0
    failures: list[BaseException] = []

    def guarded() -> Iterator[RecordBatch]:
        try:
            yield from chain((first,), batches)
        except BaseException as failure:
            failures.append(failure)
            raise

    try:
        write_parquet(
            RecordBatchReader.from_batches(arrow_schema(contract), guarded()),
            path,
            compression="zstd(1)",
            max_row_group_size=group_rows(first),
            **_encodings(contract),
        )
    except Exception:
        if failures:  # arro3 passes on the text of an exception only
            raise failures[0] from None
        raise
    return path.stat().st_size


def _encodings(contract: Contract) -> dict[str, Any]:
    """Return the encodings that take less time and size than a dictionary, the default (measured).

    Integers and times mostly count up; ids of one message's readings share their beginning. Nested
    columns keep the default.
    """
    encodings = {"reading_id": "delta_byte_array", "trace_id": "delta_byte_array"}
    for field in (*contract.fields, *ROW_FIELDS):
        if is_integer(field.schema):
            encodings[field.column] = "delta_binary_packed"
    return {
        "column_encoding": encodings,
        "column_dictionary_enabled": dict.fromkeys(encodings, False),
    }
