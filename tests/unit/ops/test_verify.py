"""ops.verify: every way in which history and raw can differ is found and named."""

import io
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from ops.verify import Gaps, Verifier
from telemetry_rebuild import manifest as manifests
from tests.unit.rebuild.hours import (
    ARRIVAL_MS,
    DAY_MS,
    HOUR,
    PARSED,
    RAW,
    TELEMETRY,
    Lake,
    lake,
    of_thing,
    packed,
    reading,
)

DAY = "daily/telemetry/day=2026-11-22/2026-11-22T09.parquet"
DAY_BEFORE = "daily/telemetry/day=2026-11-21/2026-11-22T09.parquet"
MANIFEST = HOUR.manifest_key("telemetry")
FIRST = f"{HOUR.raw_prefix('telemetry')}1.ndjson.gz"


class FakeS3:
    """The calls that reading needs."""

    def __init__(self, made: Lake) -> None:
        self._objects = made.objects

    def get_paginator(self, operation: str) -> "FakeS3":
        assert operation == "list_objects_v2"
        return self

    def paginate(self, *, Bucket: str, Prefix: str) -> Iterator[dict[str, Any]]:  # noqa: N803  # boto3's names
        found = self._objects.list(Bucket, Prefix)
        yield {"Contents": [{"Key": one.key, "ETag": f'"{one.etag}"'} for one in found]}

    def get_object(self, *, Bucket: str, Key: str) -> dict[str, Any]:  # noqa: N803
        return {"Body": io.BytesIO(self._objects.content[Bucket, Key])}


@pytest.fixture
def made() -> Lake:
    late = reading(timestamp=ARRIVAL_MS - DAY_MS)
    rebuilt = lake(
        {
            "1": packed(of_thing("a", [reading(), reading(sequence=1), late])),
            "2": packed(of_thing("a", reading()), b"nonsense"),
        }
    )
    rebuilt.rebuild()
    return rebuilt


def findings(made: Lake, folder: Path) -> list[tuple[str, str]]:
    keys = frozenset(key for key in made.objects.keys(PARSED) if key.startswith("daily/"))
    verifier = Verifier(FakeS3(made), RAW, PARSED, TELEMETRY, keys)
    found = list(verifier.check(HOUR, folder))
    assert {finding.hour for finding in found} <= {str(HOUR)}
    return [(finding.kind, finding.what) for finding in found]


def test_an_hour_that_was_rebuilt_is_found_to_be_right(made: Lake, tmp_path: Path) -> None:
    assert findings(made, tmp_path) == []


def change(made: Lake, **fields: Any) -> None:
    changed = msgspec.structs.replace(made.manifest(), **fields)
    made.objects.content[PARSED, MANIFEST] = manifests.encode(changed)


def _other_rows(made: Lake) -> None:
    other = lake({"1": packed(of_thing("b", reading()), of_thing("a", reading()))})
    other.rebuild()
    made.objects.content[PARSED, DAY] = other.objects.content[PARSED, DAY]


def _claim_more(made: Lake) -> None:
    first, *rest = made.manifest().inputs
    change(made, inputs=(msgspec.structs.replace(first, readings=9), *rest), rows=9)


@pytest.mark.parametrize(
    ("spoil", "expected"),
    [
        pytest.param(
            lambda made: made.objects.content.pop((PARSED, MANIFEST)),
            [("not rebuilt", "2 raw objects, no manifest")],
            id="no manifest",
        ),
        pytest.param(
            lambda made: change(made, complete=False),
            [("not rebuilt", "the last run did not come to its end")],
            id="killed",
        ),
        pytest.param(
            lambda made: made.objects.content.pop((PARSED, DAY)),
            [("missing", f"{DAY}: 2 rows")],
            id="daily object deleted",
        ),
        pytest.param(
            lambda made: made.objects.content.update({(PARSED, DAY): b"scrap"}),
            [("altered", f"{DAY}: not what the rebuild wrote")],
            id="daily object spoilt",
        ),
        pytest.param(
            _other_rows,
            [
                ("altered", f"{DAY}: not what the rebuild wrote"),
                ("missing", f"{DAY}: 2 rows"),
                ("added", f"{DAY}: 2 rows"),
            ],
            id="other rows",
        ),
        pytest.param(
            lambda made: made.objects.content.update({(PARSED, DAY[:-8] + "-2.parquet"): b""}),
            [("added", f"{DAY[:-8]}-2.parquet: not in the manifest")],
            id="stray object",
        ),
        pytest.param(
            _claim_more,
            [
                ("altered", f"{FIRST}: the manifest's counts are not those of raw"),
                ("altered", "rows: the manifest says 9, raw gives 3"),
            ],
            id="false counts",
        ),
    ],
)
def test_what_is_wrong_is_named(
    spoil: Callable[[Lake], object], expected: list[tuple[str, str]], made: Lake, tmp_path: Path
) -> None:
    spoil(made)
    assert findings(made, tmp_path) == expected


def test_raw_objects_that_came_went_or_changed_since_are_named(made: Lake, tmp_path: Path) -> None:
    del made.objects.content[RAW, FIRST]
    made.put_raw("2", packed(of_thing("a", reading(sequence=5))))
    made.put_raw("3", packed(of_thing("a", reading())))
    prefix = HOUR.raw_prefix("telemetry")
    assert findings(made, tmp_path)[:3] == [
        ("missing", f"{FIRST}: gone since the rebuild"),
        ("altered", f"{prefix}2.ndjson.gz: another content than at the rebuild"),
        ("added", f"{prefix}3.ndjson.gz: not in the manifest; rebuild the hour"),
    ]


def test_an_hour_of_another_version_is_compared_with_its_own_manifest(
    made: Lake, tmp_path: Path
) -> None:
    version = msgspec.structs.replace(made.manifest().version, code="other")
    change(made, version=version, rows=99)
    assert findings(made, tmp_path) == []
    made.objects.content[PARSED, DAY] = b"scrap"
    assert findings(made, tmp_path) == [("altered", f"{DAY}: not what the rebuild wrote")]


def test_hours_without_raw_objects_and_without_a_manifest_are_right(tmp_path: Path) -> None:
    assert findings(lake(), tmp_path) == []


def test_gaps_are_counted_for_each_thing_and_a_restart_is_none(tmp_path: Path) -> None:
    def numbers(*found: int) -> list[dict[str, Any]]:
        return [reading(timestamp=ARRIVAL_MS + n, sequence=v) for n, v in enumerate(found)]

    made = lake(
        {
            "1": packed(of_thing("a", numbers(1, 2, 5)), of_thing("b", numbers(7, 8, 0, 1))),
            "2": packed(of_thing("c", [*numbers(3), reading(timestamp=ARRIVAL_MS + 5)])),
        }
    )
    made.rebuild()
    assert findings(made, tmp_path / "hour") == []
    gaps = Gaps(TELEMETRY, tmp_path)
    gaps.add((tmp_path / "hour").rglob("*.parquet"))
    assert gaps.found() == [{"thing_name": "a", "customer": None, "missing": 2}]
    gaps.close()
