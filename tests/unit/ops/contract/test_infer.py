"""ops.contract infer: every reading of the sample fits the proposed contract."""

import csv
import gzip
import io
import json
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from click.testing import CliRunner, Result
from hypothesis import given, settings
from hypothesis import strategies as st

from contracts import Contract, parse
from device.errors import ExitStatus
from device.readings.check import ReadingCheck
from device.readings.csv_rows import CsvOptions, CsvRows
from device.readings.sources import Payload
from ops.contract.infer import infer
from ops.contract.inference import FieldValues, Unclear, propose


def proposed(readings: list[Any]) -> tuple[Contract, list[str]]:
    sample, notes = FieldValues(), list[str]()
    for reading in readings:
        sample.add(reading)
    return parse("test", json.dumps(propose(sample, notes.append))), notes


def fields(readings: list[Any]) -> dict[str, Any]:
    contract, _ = proposed(readings)
    return dict(contract.document["properties"])


_TEXTS = st.text(st.characters(codec="utf-8"), max_size=6)
_NUMBERS = (
    st.integers()
    | st.integers(978_307_200_000, 4_102_444_800_000)
    | st.floats(allow_nan=False, allow_infinity=False)
)
_LEAVES = (
    st.none()
    | st.booleans()
    | _NUMBERS
    | _TEXTS
    | st.sampled_from(["2026-11-25T10:00:00Z", "2026-11-25", "ok", "fault"])
)
_NAMES = st.sampled_from(["a", "b", "B", "time", "created_at", "thing_name", "select", "x y", ""])
_VALUES = st.recursive(
    _LEAVES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_NAMES, inner, max_size=3),
    max_leaves=6,
)
# In most samples a field has values of one kind.
_COLUMNS = st.sampled_from(
    [
        *(_NUMBERS, st.integers(-5, 5), _TEXTS, st.booleans(), _VALUES),
        *(st.none() | st.integers(-5, 5), st.none() | st.sampled_from(["ok", "fault"])),
    ]
)


@st.composite
def samples(draw: st.DrawFn) -> list[dict[str, Any]]:
    columns = {name: draw(_COLUMNS) for name in draw(st.sets(_NAMES | _TEXTS, max_size=5))}
    optional = draw(st.booleans())
    return [
        {
            name: draw(values)
            for name, values in {"always": st.integers(), **columns}.items()
            if not optional or name == "always" or draw(st.booleans())
        }
        for _ in range(draw(st.sampled_from([1, 2, 5, 40])))
    ]


@settings(deadline=None, max_examples=300)
@given(samples())
def test_every_reading_of_the_sample_fits(readings: list[dict[str, Any]]) -> None:
    contract, _ = proposed(readings)
    check = ReadingCheck(contract)
    for reading in readings:
        check.check(json.dumps(reading).encode())


_CELLS = st.one_of(
    st.integers().map(str),
    st.floats().map(str),
    st.sampled_from(["", "TRUE", "False", "true", "null", "007", "-0", "1e999", " 1", "[1]"]),
    st.sampled_from(["2026-11-25 10:00", "2026-11-25T10:00:00.123456Z", "2026-02-30T10:00Z"]),
    _TEXTS,
)
_KINDS = st.sampled_from(
    [
        _CELLS,
        st.integers(-5, 5).map(str),
        st.floats(-5, 5).map(str),
        st.sampled_from(["TRUE", "FALSE", ""]),
        st.sampled_from(["2026-11-25 10:00", "2026-11-25 11:00:00+01:00", ""]),
        st.sampled_from(["1790000000123", "1790000000124"]),
    ]
)


@st.composite
def tables(draw: st.DrawFn) -> list[list[str]]:
    names = ["always", "time", "wind.speed", "wind.dir", "gust", "a.b", "received_at", "x y"]
    header = draw(st.lists(st.sampled_from(names[1:]), unique=True, max_size=4))
    columns = [draw(_KINDS) for _ in header]
    rows = [["1", *(draw(cell) for cell in columns)] for _ in range(draw(st.integers(1, 20)))]
    return [["always", *header], *rows]


@settings(deadline=None)
@given(tables(), st.sampled_from(",;\t|"))
def test_publishing_a_csv_file_under_the_contract_proposed_for_it_works(
    table: list[list[str]], delimiter: str
) -> None:
    text = io.StringIO()
    csv.writer(text, delimiter=delimiter).writerows(table)
    content = text.getvalue().encode()
    with TemporaryDirectory() as folder:
        path = Path(folder, "sample.csv")
        path.write_bytes(content)
        arguments = [str(path), "--time-zone", "UTC", "--delimiter", delimiter]
        result = CliRunner().invoke(infer, arguments)
    assert result.exit_code == ExitStatus.OK, result.output
    contract = parse("sample", result.stdout)
    from datetime import UTC  # noqa: PLC0415

    options = CsvOptions(time_zone=UTC, delimiter=delimiter)
    check = ReadingCheck(contract)
    items = list(CsvRows(io.BytesIO(content), contract, options))
    assert len(items) == len(table) - 1
    for item in items:
        assert isinstance(item, Payload), item
        check.check(item.payload)


def test_types_and_required_fields() -> None:
    contract, notes = proposed(
        [
            {"n": 1, "x": 1, "s": "a", "b": True, "o": {"i": 1}, "l": [1], "maybe": None},
            {"n": 2, "x": 0.5, "s": "b", "b": False, "o": {"i": None, "j": 1}, "l": [], "maybe": 1},
            {"n": 3, "x": 7, "s": "c", "b": False, "o": {}, "l": [None]},
        ]
    )
    kinds = {
        field.name: (field.schema.kind, field.schema.nullable, field.required)
        for field in contract.fields
    }
    assert kinds == {
        "n": ("integer", False, True),
        "x": ("number", False, True),
        "s": ("string", False, True),
        "b": ("boolean", False, True),
        "o": ("object", False, True),
        "l": ("array", False, True),
        "maybe": ("integer", True, False),
    }
    assert notes == []


def test_bounds_leave_room_and_a_counter_has_no_upper_one() -> None:
    readings = [
        {"temperature": x / 10, "humidity": x, "sequence": n, "depth": -x}
        for n, x in enumerate([205, 210, 190, -30, 55])
    ]
    assert fields(readings) == {
        "temperature": {"type": "number", "minimum": -10, "maximum": 50},
        "humidity": {"type": "integer", "minimum": -100, "maximum": 500},
        "sequence": {"type": "integer", "minimum": 0},
        "depth": {"type": "integer", "minimum": -500, "maximum": 100},
    }


def test_few_texts_that_recur_are_an_enumeration_and_others_have_a_length() -> None:
    readings = [
        {"status": ["ok", "fault"][n % 2], "maybe": [None, "x", "y"][n % 3], "id": f"id-{n}"}
        for n in range(30)
    ]
    assert fields(readings) == {
        "status": {"type": "string", "enum": ["fault", "ok"]},
        "maybe": {"type": ["string", "null"], "enum": ["x", "y", None]},
        "id": {"type": "string", "maxLength": 10, "examples": ["id-0", "id-1", "id-2"]},
    }


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("timestamp", 1_790_000_000_123, {"x-timestamp": "ms"}),
        ("time", 1_790_000_000, {"x-timestamp": "s"}),
        ("created_at", 1_790_000_000, {"x-timestamp": "s"}),
        ("ts", 1_790_000_000, {"x-timestamp": "s"}),
        ("serial", 1_790_000_000, {}),
        ("uptime", 5, {}),
        ("time", "2026-11-25T10:00:00+01:00", {"format": "date-time"}),
        ("anything", "2026-11-25T10:00:00Z", {"format": "date-time"}),
        ("time", "2026-11-25", {}),
    ],
)
def test_times_are_known_by_their_form_or_by_name_and_value(
    name: str, value: Any, expected: dict[str, str]
) -> None:
    found = fields([{name: value}])[name]
    assert {key: found[key] for key in ("x-timestamp", "format") if key in found} == expected


@pytest.mark.parametrize(
    ("readings", "note"),
    [
        ([{"f": 1}, {"f": "x"}], "left out: $.f: expected values of one type, got"),
        ([{"f": None}], "got 1 x null"),
        ([{"f": []}], "every array is empty"),
        ([{"f": {}}], "no field of it can be described"),
        ([{"x-y": 1}], "left out: $.x-y: a name has letters"),
        ([{"f": 1, "F": 1}], "left out: $.F: its name differs"),
        ([{"thing_name": 1}], "the pipeline or SQL reserves its name"),
    ],
)
def test_what_no_contract_can_hold_is_left_out_and_named(readings: list[Any], note: str) -> None:
    contract, notes = proposed([{"good": 1, **reading} for reading in readings])
    assert len(notes) == 1
    assert note in notes[0]
    assert "good" in {field.name for field in contract.fields}


def test_readings_without_a_usable_field_are_no_sample() -> None:
    with pytest.raises(Unclear):
        proposed([{"x-y": 1}])


def nested(depth: int) -> Any:
    return {"f": nested(depth - 1)} if depth else 1


def test_hostile_readings_are_bounded() -> None:
    contract, notes = proposed([{"a": 1, "deep": nested(500), **{f"f{n}": n for n in range(5000)}}])
    assert len(contract.fields) <= 500
    assert any("$.deep" in note for note in notes)


def run(path: Path, content: str | bytes, *arguments: str) -> Result:
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return CliRunner().invoke(infer, [str(path), *arguments])


CSV = """\ufeffsep=;
time;zip;on;wind.speed;empty
2026-11-25 10:00;007;TRUE;1,5;
2026-11-25 11:00;008;FALSE;2;
"""


def test_a_csv_file_of_excel_is_understood(tmp_path: Path) -> None:
    result = run(tmp_path / "Weather 2026.csv", CSV.replace("on;", "lit;"))
    assert result.exit_code == ExitStatus.OK, result.output
    found = json.loads(result.stdout)["properties"]
    assert found["time"] == {"type": "string", "format": "date-time"}
    assert found["zip"]["type"] == "string"
    assert found["lit"] == {"type": "boolean"}
    assert found["wind"]["properties"]["speed"]["type"] == "string"  # a comma is no decimal point
    assert "empty" not in found
    assert "publish the file with --time-zone" in result.stderr
    assert "store it as contracts/weather_2026.json" in result.stderr


def test_lines_that_are_no_readings_are_named_and_the_rest_is_used(tmp_path: Path) -> None:
    lines = ['{"a": 1}', "nonsense", "[]", "7", '[{"a": 2}, {"a": 3, "a": 4}]', '[{"a": 5}]', ""]
    result = run(tmp_path / "sample.ndjson.gz", gzip.compress("\n".join(lines).encode()))
    assert result.exit_code == ExitStatus.INCOMPLETE
    assert json.loads(result.stdout)["required"] == ["a"]
    for number in (2, 3, 4, 5):
        assert f"line {number}: " in result.stderr
    assert "proposed from 2 readings" in result.stderr
    assert "4 lines of" in result.stderr


def test_only_the_first_notes_are_printed(tmp_path: Path) -> None:
    result = run(tmp_path / "sample.ndjson", '{"a": 1}\n' + "x\n" * 1000)
    assert result.stderr.count("line ") == 20
    assert "and 980 more notes" in result.stderr


def test_what_a_device_sent_reaches_no_terminal_as_a_control_character(tmp_path: Path) -> None:
    reading = {"\x1b[2J": 1, "\u009b": 1, "a": "\u009b\x7f"}
    result = run(tmp_path / "sample.ndjson", json.dumps(reading))
    assert not {"\x1b", "\x9b", "\x7f"} & set(result.output)
    assert parse("sample", result.stdout).fields[0].schema.examples == ("\u009b\x7f",)


@pytest.mark.parametrize(
    ("name", "content", "arguments", "said"),
    [
        ("a.ndjson", "", (), "expected readings in"),
        ("a.ndjson", b"\x1f\x8bnot gzip", (), "expected readings in"),
        ("a.csv", "", (), "expected readings in"),
        ("a.csv", "a,a\n1,2\n", (), "expected every column once"),
        ("a.csv", "a\n1\n", ("--delimiter", "xx"), "a.csv: "),
        ("a.csv", "a\n1\n", ("--time-zone", "Mars"), "expected a time zone"),
        ("a.ndjson", '{"a": 1}', ("--channel", "A"), "--channel"),
        ("a.ndjson", '{"a": 1}', ("--channel", "a_daily"), "--channel"),
    ],
)
def test_what_is_no_sample_is_one_line(
    name: str, content: str | bytes, arguments: tuple[str, ...], said: str, tmp_path: Path
) -> None:
    result = run(tmp_path / name, content, *arguments)
    assert result.exit_code == ExitStatus.USAGE, result.output
    assert result.stdout == ""
    assert said in result.stderr
