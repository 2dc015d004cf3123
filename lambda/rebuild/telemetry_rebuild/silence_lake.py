"""What the watch for silent things reads from the lake, and keeps there."""

import tempfile
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec

from telemetry_rebuild.objects import HistoryObjects
from telemetry_rebuild.silence import Arrivals, WatchState
from telemetry_rebuild.sorting import Resources, connect

_HOUR_MS = 3_600_000
# Nobody fell silent before the first run, and a run that was missed is caught up with.
_MOST_HOURS = 24

_ARRIVALS = """
    SELECT thing_name, epoch_ms(min(received_at)), epoch_ms(max(received_at)),
        count(DISTINCT received_at)
    FROM read_parquet(?) WHERE thing_name IS NOT NULL GROUP BY thing_name
"""


class SilenceLake:
    """The parsed bucket.

    Args:
        objects: Needs ``s3:ListBucket`` and ``s3:GetObject`` for ``parsed/`` and ``silence/``,
            and ``s3:PutObject`` for ``silence/``.
        bucket: The parsed bucket.
    """

    def __init__(self, objects: HistoryObjects, bucket: str) -> None:
        self._objects = objects
        self._bucket = bucket

    def state(self, channel: str) -> WatchState | None:
        """What the last run left; None on the first run."""
        content = self._objects.get(self._bucket, _state_key(channel))
        return None if content is None else msgspec.json.decode(content, type=WatchState)

    def keep(self, channel: str, state: WatchState) -> None:
        """Leave ``state`` for the next run."""
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, "state.json")
            path.write_bytes(msgspec.json.encode(state))
            self._objects.put(self._bucket, _state_key(channel), path)

    def arrivals(self, channel: str, *, since: int | None, now: int) -> list[tuple[str, Arrivals]]:
        """When messages of each thing arrived, in the hours from ``since`` on.

        The hour before is read too, as its last batch may have come late. Objects are read one
        after the other, so that one of them at a time is on the disk.
        """
        last = now // _HOUR_MS
        first = last - _MOST_HOURS if since is None else min(since // _HOUR_MS - 1, last)
        merged: dict[str, Arrivals] = {}
        for hour in range(max(first, last - _MOST_HOURS), last + 1):
            for name, found in self._of_hour(channel, hour):
                merged[name] = _merged(merged.get(name), found)
        return list(merged.items())

    def _of_hour(self, channel: str, hour: int) -> Iterator[tuple[str, Arrivals]]:
        start = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(hours=hour)
        prefix = f"parsed/{channel}/dt={start:%Y-%m-%d}/hour={start:%H}/"
        for found in self._objects.list(self._bucket, prefix):
            with tempfile.TemporaryDirectory() as folder:
                path = Path(folder, "rows.parquet")
                with self._objects.open(self._bucket, found.key) as body, path.open("wb") as file:
                    while block := body.read(1 << 20):
                        file.write(block)
                with connect(Resources(folder=Path(folder))) as connection:
                    rows = connection.execute(_ARRIVALS, [str(path)]).fetchall()
            for name, first, newest, count in rows:
                yield name, Arrivals(first, newest, count)


def _merged(one: Arrivals | None, other: Arrivals) -> Arrivals:
    if one is None:
        return other
    return Arrivals(
        min(one.first, other.first), max(one.newest, other.newest), one.count + other.count
    )


def _state_key(channel: str) -> str:
    return f"silence/{channel}.json"
