"""What the function talks to, in memory."""

import io
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from telemetry_parser.events import ParsedObject
from telemetry_parser.raw import Readable


class FakeObjects:
    """Buckets in memory, and a list of what was done to them.

    Attributes:
        content: Bytes by bucket and key.
        calls: ``(operation, bucket, key)``, in order.
        before: Called with each of them first; raises what the service would.
    """

    def __init__(self) -> None:
        self.content: dict[tuple[str, str], bytes] = {}
        self.calls: list[tuple[str, str, str]] = []
        self.before: Callable[[str, str, str], None] = lambda *_: None

    def _called(self, operation: str, bucket: str, key: str) -> None:
        self.calls.append((operation, bucket, key))
        self.before(operation, bucket, key)

    @contextmanager
    def open(self, bucket: str, key: str) -> Iterator[Readable]:
        self._called("open", bucket, key)
        if (bucket, key) not in self.content:
            raise LookupError("NoSuchKey")
        yield io.BytesIO(self.content[bucket, key])

    def put(self, bucket: str, key: str, path: Path) -> None:
        self._called("put", bucket, key)
        self.content[bucket, key] = path.read_bytes()

    def remove(self, bucket: str, key: str) -> None:
        self._called("remove", bucket, key)
        self.content.pop((bucket, key), None)

    def keys(self, bucket: str) -> set[str]:
        return {key for owner, key in self.content if owner == bucket}


class FakeReport:
    """Remembers what it is told."""

    def __init__(self) -> None:
        self.done: list[ParsedObject] = []
        self.failures: list[tuple[str, Exception]] = []
        self.ignorances: list[tuple[str, str]] = []

    def parsed(self, parsed: ParsedObject) -> None:
        self.done.append(parsed)

    def failed(self, message_id: str, error: Exception) -> None:
        self.failures.append((message_id, error))

    def ignored(self, message_id: str, reason: str) -> None:
        self.ignorances.append((message_id, reason))
