"""The function's environment variables, read once, checked and frozen.

| variable | value | default |
|---|---|---|
| `RAW_BUCKET` | bucket of the `raw/` objects | none: required |
| `PARSED_BUCKET` | bucket of the `daily/` objects and the manifests | none: required |
| `DAILY_RETENTION_DAYS` | how long daily objects are kept | none: required |
| `SORT_MEMORY_MEBIBYTES` | what a sort uses before it writes to disk | 512 |
| `SORT_THREADS` | threads of a sort | 1 |
| `MAX_LINE_BYTES` and the other fields of `Limits`, in upper case | a positive integer | `Limits` |
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

from telemetry_parser.settings import Limits, positive, required


@dataclass(frozen=True, slots=True, kw_only=True)
class RebuildSettings:
    """The settings that the stack gives the function; see the table above."""

    raw_bucket: str
    parsed_bucket: str
    daily_retention_days: int
    sort_memory_mebibytes: int
    sort_threads: int
    limits: Limits

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> Self:
        """Read and check every variable of the table above.

        Raises:
            SettingsError: One of them is missing or wrong.
        """
        return cls(
            raw_bucket=required(environment, "RAW_BUCKET"),
            parsed_bucket=required(environment, "PARSED_BUCKET"),
            daily_retention_days=positive(
                "DAILY_RETENTION_DAYS", required(environment, "DAILY_RETENTION_DAYS")
            ),
            sort_memory_mebibytes=positive(
                "SORT_MEMORY_MEBIBYTES", environment.get("SORT_MEMORY_MEBIBYTES", "512")
            ),
            sort_threads=positive("SORT_THREADS", environment.get("SORT_THREADS", "1")),
            limits=Limits.from_environment(environment),
        )
