"""Write batches of rows as one Parquet file, each as a row group.

Pure but for the file it is told to write.
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
        BaseException: Whatever ``batches`` raises, as it is.
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
    """Where a dictionary, the default, does not pay: in time and size, measured.

    Integers and times mostly count up; ids of readings share their message's part. What is
    nested keeps the default.
    """
    encodings = {"reading_id": "delta_byte_array", "trace_id": "delta_byte_array"}
    for field in (*contract.fields, *ROW_FIELDS):
        if is_integer(field.schema):
            encodings[field.column] = "delta_binary_packed"
    return {
        "column_encoding": encodings,
        "column_dictionary_enabled": dict.fromkeys(encodings, False),
    }
