"""The sink takes readings, stores them on disk, and sends them when the broker can be reached.

Two threads do the work: ``device.delivery.worker`` stores and sends, ``device.delivery.connector``
keeps the device connected.
"""

import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any, Self

from device.delivery import mqtt
from device.delivery.connector import BrokerConnection, Connector
from device.delivery.outbox import QueuedPayload
from device.delivery.spool import Spool
from device.delivery.totals import Totals
from device.delivery.worker import WhenFull, Worker
from device.errors import ConnectionFailed, DeviceError, SpoolError, SpoolFull
from device.files import make_folder
from device.identity import Identity
from device.readings.check import ReadingCheck, ReadingError
from device.readings.encoding import encode

MAX_SPOOL_BYTES = 256 * 1024 * 1024

_DISCONNECT_SECONDS = 6.0


def open_sink(
    own: Identity,
    topic: str,
    *,
    check: ReadingCheck | None,
    pack: bool,
    max_linger_seconds: float,
    max_spool_bytes: int = MAX_SPOOL_BYTES,
    when_full: WhenFull = "refuse",
) -> "Sink":
    """Open the sink of an identity, with the spool beside it.

    Args and errors are those of ``device.open``.
    """
    try:
        make_folder(own.spool_path.parent, own.folder)
    except OSError as error:
        raise SpoolError(
            f"cannot use the folder {own.spool_path.parent} for the spool: {error.strerror}"
        ) from None
    return Sink(
        Spool(own.spool_path, max_bytes=max_spool_bytes),
        topic,
        lambda: mqtt.Connection(own),
        check=check,
        pack=pack,
        max_linger_seconds=max_linger_seconds,
        when_full=when_full,
    )


class Sink:
    """Takes readings for one topic; ``device.open`` makes it.

    It is a context manager. Several threads may use it at once.

    Args:
        spool: Open; closed by ``close``.
        topic: Where every message is published.
        connect: Makes a connection that is not connected yet.
        check: Checks every payload that is put. None takes any payload.
        pack: Put several readings into a message; otherwise send each by itself. Only with a check
            or with a caller that puts nothing but valid JSON: one payload that is not JSON would
            spoil the message for the others.
        max_linger_seconds: How long a reading waits for others to fill its message.
        when_full: See ``device.open``.
        clock: Returns seconds since the Unix epoch.

    Raises:
        ValueError: ``max_linger_seconds`` is negative or not a number.
    """

    def __init__(
        self,
        spool: Spool,
        topic: str,
        connect: Callable[[], BrokerConnection],
        *,
        check: ReadingCheck | None,
        pack: bool,
        max_linger_seconds: float,
        when_full: WhenFull,
        clock: Callable[[], float] = time.time,
    ) -> None:
        if not max_linger_seconds >= 0:  # NaN is not, either
            spool.close()
            raise ValueError(f"expected seconds to linger, 0 or more, got {max_linger_seconds}")
        try:
            self._worker = Worker(
                spool,
                topic,
                max_linger_seconds=max_linger_seconds,
                when_full=when_full,
                clock=clock,
            )
        except BaseException:
            spool.close()
            raise
        self._max_payload_bytes = min(mqtt.MAX_PAYLOAD_BYTES, spool.max_payload_bytes)
        self._check = check
        self._pack = pack
        self._connector = Connector(
            connect,
            acknowledged=lambda: self._worker.tally.acknowledged_messages,
            changed=self._connection_changed,
        )
        self._worker_thread = threading.Thread(
            target=self._worker.run, name="device-sink", daemon=True
        )
        self._connector_thread = threading.Thread(
            target=self._connector.run, name="device-connector", daemon=True
        )
        self._worker_thread.start()
        self._connector_thread.start()

    def _connection_changed(self) -> None:
        self._worker.connection = self._connector.connection
        self._worker.wake()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        try:
            self.close()
        except DeviceError:
            if kind is None:  # otherwise the first error is the one to show
                raise

    # What a program calls.

    def put(self, reading: Mapping[str, Any]) -> None:
        """Take ``reading``; when this returns, it is on disk.

        One reading per call: a list of readings is refused.

        Raises:
            ReadingError: It is not a mapping, holds a value that JSON cannot express (NaN, a
                Decimal, bytes, a set, half a surrogate pair, itself), does not fit the contract,
                or is longer than a message may be. It was not taken.
            SpoolFull: There is no room, and ``when_full`` is ``"refuse"``. It was not taken.
            SpoolError: The spool cannot be written, or the sink is closed. It was not taken.
        """
        self.put_payload(encode(reading))

    def put_payload(self, payload: bytes, *, wait: bool = True) -> None:
        """Take a payload that is encoded already. The check of every caller's readings is here.

        Args:
            payload: A reading, one JSON object, which may share a message with others if the sink
                packs. Anything else is a message of its own, sent byte for byte, and counts as one
                reading.
            wait: Return when it is on disk. Otherwise ``flush`` and ``close`` wait for that.

        Raises:
            ReadingError: It does not fit the contract, or is longer than a message may be. It was
                not taken.
            SpoolFull: There is no room, and ``when_full`` is ``"refuse"``. It was not taken.
            SpoolError: The spool cannot be written, or the sink is closed. It was not taken.
        """
        if self._check is not None:
            self._check.check(payload)
        if len(payload) > self._max_payload_bytes:
            raise ReadingError(
                f"$: expected a reading of at most {self._max_payload_bytes} bytes, got "
                f"{len(payload)}"
            )
        pack = self._pack and payload.lstrip().startswith(b"{")
        decided = None
        if wait:
            decided = threading.Lock()
            decided.acquire()
        self._worker.put(QueuedPayload(payload, pack, decided))

    def flush(self, timeout_seconds: float | None = None) -> bool:
        """Send everything now, full messages or not, and wait for the answers.

        Returns:
            Whether the broker has acknowledged all of it. Otherwise time is up, or the broker
            refuses some; all of that stays in the spool.

        Raises:
            DeviceError: The broker does not let this device connect; see ``failure``.
            SpoolError: The spool cannot be written.
        """
        worker, connector = self._worker, self._connector
        with worker.changed:
            worker.flushing += 1
            worker.all_sent = False
            worker.wake()
            try:
                worker.changed.wait_for(
                    lambda: worker.all_sent or connector.failure or worker.is_closed,
                    timeout_seconds,
                )
                # Readings are stored even if there is nowhere to send them.
                worker.changed.wait_for(
                    lambda: not worker.entries or worker.is_full or worker.ended
                )
            finally:  # Ctrl-C too
                worker.flushing -= 1
            if worker.error is not None:
                raise worker.error
            if connector.failure is not None and worker.tally.spooled:
                raise connector.failure
            return worker.tally.spooled == 0 and not worker.entries

    def close(self, timeout_seconds: float = mqtt.ACKNOWLEDGEMENT_TIMEOUT_SECONDS + 1.0) -> None:
        """Flush, disconnect and release the spool. The next run sends what is left in it.

        Raises:
            SpoolFull: Some readings that were put without waiting are not on disk and are lost.
            DeviceError: As ``flush``.
        """
        worker = self._worker
        try:
            if not worker.is_closed:
                self.flush(timeout_seconds)
        finally:
            self._connector.stop()
            # After this, every message that was sent has its answer. If it takes longer, the
            # device was not connected; the attempt to connect ends by itself.
            self._connector_thread.join(_DISCONNECT_SECONDS)
            with worker.changed:
                worker.ending = True
                worker.wake()
            self._worker_thread.join()
        lost, worker.entries = len(worker.entries), []
        if lost:
            raise worker.error or SpoolFull(
                f"no room in the spool for the last {lost} readings: not taken"
            )

    @property
    def failure(self) -> DeviceError | None:
        """Why this sink will send nothing more, or None.

        The broker has reported that another client uses this id, or has refused the certificate,
        the client id or the topic, so that another attempt would not help. Readings are still
        taken. After a ``SpoolError`` the spool cannot be written, and no reading is taken.
        """
        return self._worker.error or self._connector.failure

    @property
    def connection_error(self) -> ConnectionFailed | None:
        """The last connection error while there is no connection; the sink keeps retrying."""
        return self._connector.last_error

    @property
    def was_connected(self) -> bool:
        """Whether it has been connected at all."""
        return self._connector.was_connected

    def wait_for_connection(self, timeout_seconds: float) -> bool:
        """Wait for the end of the first attempt to connect; return whether it succeeded."""
        connector = self._connector
        with self._worker.changed:
            self._worker.changed.wait_for(
                lambda: connector.was_connected or connector.last_error or connector.failure,
                timeout_seconds,
            )
            return connector.was_connected

    def totals(self) -> Totals:
        """Return what became of everything so far."""
        with self._worker.changed:
            return self._worker.tally.totals()

    def unknown_fields(self) -> Counter[str]:
        """Return the fields that the contract does not have, with the number of readings."""
        return Counter() if self._check is None else Counter(self._check.unknown_fields.counts)

    def reasons(self) -> Counter[str]:
        """Return why readings were refused or stayed without an answer, with how many."""
        with self._worker.changed:
            return self._worker.tally.reasons()
