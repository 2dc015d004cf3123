"""ops.cost: messages and objects of a load, beside an independent count."""

import pytest

import contracts
from device.delivery import prices
from ops.cost.traffic import MONTH_SECONDS, Load, Measurement, Traffic

CONTRACT = contracts.load("telemetry")


def measurement(
    devices: int,
    interval: float,
    *,
    reading_bytes: int | None = None,
    linger: float = 10.0,
    buffering_seconds: int = 60,
    buffering_bytes: int = 64 * 1024**2,
) -> Measurement:
    return Measurement(
        "dev",
        CONTRACT,
        Load(devices, interval, reading_bytes, linger),
        buffering_seconds=buffering_seconds,
        buffering_bytes=buffering_bytes,
    )


def test_a_device_has_a_reading_per_interval() -> None:
    one = measurement(1_000, 60).single(basic_ingest=True)
    assert one.readings == one.messages == 1_000 * 30 * 24 * 60


@pytest.mark.parametrize(
    ("interval", "linger", "expected"), [(60, 10, 1), (60, 59.9, 1), (60, 900, 16), (5, 10, 3)]
)
def test_a_message_holds_the_readings_that_come_while_its_first_one_waits(
    interval: float, linger: float, expected: int
) -> None:
    one = measurement(10, interval, linger=linger).packed()
    assert one.readings_per_message == expected
    assert one.messages == pytest.approx(10 * MONTH_SECONDS / interval / expected)


def test_a_message_is_never_longer_than_a_metering_unit() -> None:
    one = measurement(1, 0.01, linger=3600).packed()
    assert one.readings_per_message > 200
    assert one.payload_bytes + len(one.topic) > 0.9 * prices.METERING_UNIT_BYTES
    assert prices.units(one.topic, one.payload_bytes) == 1


@pytest.mark.parametrize("reading_bytes", [2, 300, 5_000, 128 * 1024])
def test_readings_of_another_size_fill_messages_sooner_or_later(reading_bytes: int) -> None:
    own, other = (
        measurement(1, 0.01, reading_bytes=size, linger=3600).packed()
        for size in (None, reading_bytes)
    )
    assert other.reading_bytes == reading_bytes
    assert (other.readings_per_message > own.readings_per_message) == (
        reading_bytes < own.reading_bytes
    )
    if other.readings_per_message > 1:
        assert prices.units(other.topic, other.payload_bytes) == 1


def test_a_single_message_is_as_long_as_the_reading() -> None:
    one = measurement(1, 60, reading_bytes=1_000).single(basic_ingest=False)
    assert one.payload_bytes == pytest.approx(1_000, rel=0.1)
    assert one.topic.startswith("dt/dev/")


def objects(one: Traffic) -> float:
    return one.objects


def test_firehose_closes_a_batch_after_its_interval_or_its_size_or_for_one_message() -> None:
    assert objects(measurement(100, 1).single(basic_ingest=True)) == MONTH_SECONDS / 60
    assert objects(measurement(1, 86_400).single(basic_ingest=True)) == 30
    small = measurement(1_000, 1, buffering_bytes=1024**2).single(basic_ingest=True)
    # A line is some 500 bytes: 60,000 of them are about 30 MB a minute.
    assert 20 < objects(small) / (MONTH_SECONDS / 60) < 50
    assert objects(measurement(1_000, 1, buffering_seconds=0).single(basic_ingest=True)) == (
        MONTH_SECONDS
    )


def test_the_raw_objects_are_as_large_as_what_firehose_would_write() -> None:
    """A raw line has at least 32 bytes of a certificate and 16 of a trace id, at random."""
    one = measurement(1_000, 60).single(basic_ingest=True)
    assert 100 < one.raw_bytes / one.messages < 500
    assert 5 < one.parquet_bytes / one.readings < 100


def test_the_parquet_files_are_as_large_as_the_benchmarks() -> None:
    """A day of 2.88 million readings took 45.0 MB in 1,440 live files, and 19.3 MB in 24."""
    one = measurement(2_000, 60).single(basic_ingest=True)
    assert one.readings / 30 == 2_880_000
    assert one.parquet_bytes / 30 == pytest.approx(45.0e6, rel=0.25)
    assert one.daily_bytes / 30 == pytest.approx(19.3e6, rel=0.5)


def test_neither_the_envelope_nor_the_parquet_footer_grows_with_the_reading() -> None:
    small, large = (
        measurement(100, 60, reading_bytes=size).single(basic_ingest=True) for size in (150, 15_000)
    )
    assert 20 < large.raw_bytes / small.raw_bytes < 80
    assert 10 < large.parquet_bytes / small.parquet_bytes < 90


def test_the_same_load_has_the_same_traffic() -> None:
    assert measurement(7, 3).packed() == measurement(7, 3).packed()
