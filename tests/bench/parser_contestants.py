"""The contestants: each makes Parquet with the same columns of the same raw object.

Each is a function of the folder and the batch, which returns a function to be timed; that returns
the number of rows. What a contestant cannot do raises ``Impossible``.
"""

import base64
import gzip
import importlib
import io
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
from arro3.io import read_parquet
from isal import igzip

import contracts
from telemetry_parser import parquet
from telemetry_parser.parser import Parser
from tests.bench.raw_objects import RAW_KEY

Run = Callable[[], int]


class Impossible(Exception):  # noqa: N818  # not an error: it is part of the answer
    """The contestant has no means for this step."""


def ours(folder: Path, batch: str) -> Run:
    """Also checks each reading against the contract, and keeps each bad one with its reason."""
    parser = Parser(contracts.load("telemetry"))

    def run() -> int:
        with (folder / f"{batch}.gz").open("rb") as raw:
            result = parser.parse(
                raw, raw_key=RAW_KEY, parquet_path=folder / "ours", rejected_path=folder / "bad.out"
            )
        return result.readings_parsed

    return run


def pandas(folder: Path, batch: str) -> Run:
    """What one would write first: ``json.loads`` for each line, and a DataFrame of the dicts."""
    module = importlib.import_module("pandas")

    def rows() -> Iterator[dict[str, Any]]:
        with gzip.open(folder / f"{batch}.gz") as lines:
            for number, line in enumerate(lines, start=1):
                envelope = json.loads(line)
                payload = base64.b64decode(envelope["payload"])
                if payload.startswith(b"\x1f\x8b"):
                    payload = gzip.decompress(payload)
                try:
                    message = json.loads(payload)
                except ValueError:
                    continue
                _, _, thing, _, *customer = envelope["topic"].split("/")
                for index, reading in enumerate(
                    message if isinstance(message, list) else [message]
                ):
                    yield reading | {
                        "thing_name": thing,
                        "customer": customer[0] if customer else None,
                        "received_at": envelope["received_at"],
                        "raw_key": RAW_KEY,
                        "raw_line": number,
                        "reading_index": index,
                    }

    def run() -> int:
        frame = module.DataFrame(rows())
        for name in ("timestamp", "received_at"):
            frame[name] = module.to_datetime(frame[name], unit="ms", utc=True)
        frame.to_parquet(folder / "pandas", compression="zstd", compression_level=1)
        return len(frame)

    return run


def polars(folder: Path, batch: str) -> Run:
    """Gunzips the object and payloads in Python, as it has no function for that."""
    pl = importlib.import_module("polars")
    fields = {"integer": pl.Int64, "number": pl.Float64, "string": pl.String}
    reading = pl.Struct({f.name: fields[f.schema.kind] for f in contracts.load("telemetry").fields})
    packed = batch == "packed"

    def run() -> int:
        text = io.BytesIO(igzip.decompress((folder / f"{batch}.gz").read_bytes()))  # type: ignore[no-untyped-call]  # isal does not annotate it
        envelope = {"payload": pl.String, "topic": pl.String, "received_at": pl.Int64}
        frame = pl.read_ndjson(text, schema=envelope).with_row_index("raw_line", 1)
        payload = frame["payload"].str.decode("base64")
        if packed:
            payload = pl.Series([igzip.decompress(one) for one in payload])  # type: ignore[no-untyped-call]  # likewise
        levels = pl.col("topic").str.split("/")
        frame = frame.select(
            payload.cast(pl.String)
            .str.json_decode(pl.List(reading) if packed else reading)
            .alias("reading"),
            levels.list.get(2).alias("thing_name"),
            levels.list.get(4, null_on_oob=True).alias("customer"),
            pl.col("received_at").cast(pl.Datetime("ms", "UTC")),
            pl.lit(RAW_KEY).alias("raw_key"),
            pl.col("raw_line").cast(pl.Int64),
        )
        if packed:
            index = pl.int_ranges(pl.col("reading").list.len(), dtype=pl.Int64)
            frame = frame.with_columns(index.alias("reading_index"))
            frame = frame.explode("reading", "reading_index")
        else:
            frame = frame.with_columns(pl.lit(0, pl.Int64).alias("reading_index"))
        frame = frame.unnest("reading").with_columns(
            pl.col("timestamp").cast(pl.Datetime("ms", "UTC"))
        )
        frame.write_parquet(folder / "polars", compression="zstd", compression_level=1)
        return len(frame)

    return run


_READING = {"integer": "BIGINT", "number": "DOUBLE", "string": "VARCHAR"}

_DUCKDB = """
COPY (
  SELECT make_timestamp_ms(reading.timestamp) AS timestamp,
         reading.* EXCLUDE (timestamp),
         split_part(topic, '/', 3) AS thing_name,
         nullif(split_part(topic, '/', 5), '') AS customer,
         make_timestamp_ms(received_at) AS received_at,
         '{raw_key}' AS raw_key, raw_line, 0::BIGINT AS reading_index
  FROM (
    SELECT topic, received_at, row_number() OVER () AS raw_line,
           from_json_strict(decode(from_base64(payload)), '{reading}') AS reading
    FROM read_json('{raw}', format = 'newline_delimited', columns = {{
        payload: 'VARCHAR', topic: 'VARCHAR', received_at: 'BIGINT'}})
  )
) TO '{parquet}' (FORMAT parquet, COMPRESSION zstd, COMPRESSION_LEVEL 1)
"""


def duckdb(folder: Path, batch: str) -> Run:
    """All in SQL."""
    if batch == "packed":
        raise Impossible("cannot gunzip payloads")
    module = importlib.import_module("duckdb")
    reading = {f.name: _READING[f.schema.kind] for f in contracts.load("telemetry").fields}
    statement = _DUCKDB.format(
        raw_key=RAW_KEY,
        reading=json.dumps(reading),
        raw=folder / f"{batch}.gz",
        parquet=folder / "duckdb",
    )

    def run() -> int:
        with module.connect(config={"threads": 1}) as connection:
            (count,) = connection.execute(statement).fetchone()
        return int(count)

    return run


def floor(folder: Path, batch: str) -> Run:
    """Only what nobody can leave out: gunzip, tokenise, and write columns that are ready-made."""

    class Payload(msgspec.Struct):
        payload: bytes

    contract = contracts.load("telemetry")
    ours(folder, batch)()
    ready = list(read_parquet(folder / "ours", batch_size=32 * 1024))
    decode_line = msgspec.json.Decoder(Payload).decode
    tokenise = msgspec.json.Decoder(msgspec.Raw).decode

    def run() -> int:
        with igzip.open(folder / f"{batch}.gz") as lines:  # type: ignore[no-untyped-call]  # isal does not annotate it
            for line in lines:
                payload = decode_line(line).payload
                if payload.startswith(b"\x1f\x8b"):
                    payload = igzip.decompress(payload)  # type: ignore[no-untyped-call]  # likewise
                try:
                    tokenise(payload)
                except msgspec.DecodeError:
                    continue
        parquet.write(folder / "floor", contract, iter(ready))
        return sum(batch.num_rows for batch in ready)

    return run


CONTESTANTS: dict[str, Callable[[Path, str], Run]] = {
    "ours": ours,
    "pandas": pandas,
    "polars": polars,
    "duckdb": duckdb,
    "floor": floor,
}
