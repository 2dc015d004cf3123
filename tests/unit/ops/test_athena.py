"""ops.athena: answers of every shape, in the form in which AWS's API gives them."""

from decimal import Decimal
from pathlib import Path
from typing import Any, cast

import boto3
import pytest
from botocore.stub import Stubber

from device.aws import AwsEnvironment
from device.errors import AwsError
from ops.athena import Answer, Column, QueryError, run

Cells = list[str | None]


class Athena:
    """Athena's client, whose next answers botocore finds to be in AWS's form."""

    def __init__(self) -> None:
        self._client = boto3.client(
            "athena", region_name="eu-central-1", aws_access_key_id="x", aws_secret_access_key="x"
        )
        self.stubber = Stubber(self._client)
        self.stubber.activate()

    def client(self, service: str) -> Any:
        assert service == "athena"
        return self._client

    def started(self, **execution: Any) -> None:
        self.stubber.add_response("start_query_execution", {"QueryExecutionId": "q"})
        self.stubber.add_response("get_query_execution", {"QueryExecution": execution})

    def succeeds(self, names: list[str], *pages: list[Cells], kind: str = "DML") -> None:
        self.started(
            Status={"State": "SUCCEEDED"},
            StatementType=kind,
            Statistics={"DataScannedInBytes": 12},
        )
        for number, page in enumerate(pages, 1):
            rows = [
                {"Data": [{} if cell is None else {"VarCharValue": cell} for cell in row]}
                for row in page
            ]
            info = [{"Name": name, "Type": "varchar"} for name in names]
            answer: dict[str, Any] = {
                "ResultSet": {"Rows": rows, "ResultSetMetadata": {"ColumnInfo": info}}
            }
            if number < len(pages):
                answer["NextToken"] = str(number)
            self.stubber.add_response("get_query_results", answer)

    def answer(self) -> Answer:
        session = cast("boto3.Session", self)
        answer = run(AwsEnvironment("dev", session, "1", "eu-central-1", Path()), "SELECT 1")
        self.stubber.assert_no_pending_responses()
        return answer


@pytest.fixture
def athena() -> Athena:
    return Athena()


def columns(answer: Answer) -> list[str]:
    return [column.name for column in answer.columns]


def test_the_header_row_of_select_is_not_a_row(athena: Athena) -> None:
    athena.succeeds(["a", "b"], [["a", "b"], ["1", "2"]])
    answer = athena.answer()
    assert (columns(answer), answer.rows, answer.scanned_bytes) == (["a", "b"], [["1", "2"]], 12)


def test_a_row_that_repeats_the_names_is_a_row(athena: Athena) -> None:
    athena.succeeds(["a"], [["a"], ["a"]])
    assert athena.answer().rows == [["a"]]


def test_an_answer_without_rows_keeps_its_columns(athena: Athena) -> None:
    athena.succeeds(["a", "b"], [["a", "b"]])
    answer = athena.answer()
    assert (columns(answer), answer.rows) == (["a", "b"], [])


def test_what_show_lists_first_is_a_row_even_if_it_has_the_name_of_its_column(
    athena: Athena,
) -> None:
    athena.succeeds(["tab_name"], [["tab_name"], ["telemetry"]], kind="UTILITY")
    answer = athena.answer()
    assert answer.rows == [["tab_name"], ["telemetry"]]
    assert answer.is_text


def test_a_row_of_describe_is_one_cell_with_tabs_and_becomes_three(athena: Athena) -> None:
    names = ["col_name", "data_type", "comment"]
    rows: list[Cells] = [["temperature         \tdouble    \tAir.   "], ["dt\tstring\t"]]
    athena.succeeds(names, rows, kind="UTILITY")
    answer = athena.answer()
    assert answer.rows == [["temperature", "double", "Air."], ["dt", "string", ""]]


def test_more_than_a_thousand_rows_come_in_pages_and_only_the_first_has_a_header(
    athena: Athena,
) -> None:
    numbers: list[list[Cells]] = [
        [[str(number)] for number in range(first, first + 1000)] for first in (0, 1000, 2000)
    ]
    athena.succeeds(["n"], [["n"], *numbers[0]], numbers[1], [["n"], *numbers[2]])
    rows = athena.answer().rows
    assert len(rows) == 3001
    assert rows[0] == ["0"]
    assert rows[2000] == ["n"]  # a value of the third page


def test_null_and_empty_string_differ(athena: Athena) -> None:
    athena.succeeds(["a", "b"], [["a", "b"], [None, ""]])
    assert athena.answer().rows == [[None, ""]]


def test_columns_of_the_same_name_each_keep_their_values(athena: Athena) -> None:
    names = ["a", "a", "a_2", "a", "", ""]
    athena.succeeds(names, [list(names), ["1", "2", "3", "4", "5", "6"]])
    answer = athena.answer()
    assert columns(answer) == ["a", "a_3", "a_2", "a_4", "_col4", "_col5"]
    (record,) = answer.records()
    assert list(record.values()) == ["1", "2", "3", "4", "5", "6"]


def test_rows_that_are_shorter_or_longer_than_the_columns_are_whole(athena: Athena) -> None:
    athena.succeeds(["a", "b"], [["1", "2", "3"], []], kind="UTILITY")
    answer = athena.answer()
    assert columns(answer) == ["a", "b", "_col2"]
    assert answer.rows == [["1", "2", "3"], [None, None, None]]


def test_a_statement_may_give_neither_columns_nor_rows(athena: Athena) -> None:
    athena.succeeds([], [], kind="DDL")
    answer = athena.answer()
    assert (answer.columns, answer.rows, list(answer.records())) == ((), [], [])


def test_nested_and_multi_line_values_are_whole(athena: Athena) -> None:
    values: Cells = ["{a=1, b=[x, y]}", "first\nsecond\r\n\tthird", "68 65 6c"]
    names = ["row", "text", "bytes"]
    athena.succeeds(names, [list(names), values])
    assert athena.answer().rows == [values]


def test_records_have_json_types() -> None:
    kinds = {
        "bigint": ("9223372036854775807", 2**63 - 1),
        "double": ("1.5", 1.5),
        "real": ("0.5", 0.5),
        "float": ("NaN", "NaN"),
        "boolean": ("false", False),
        "decimal": ("1.10", Decimal("1.10")),
        "varchar": ("7", "7"),
        "integer": (None, None),
        "array": ("[1, 2]", "[1, 2]"),
        "tinyint": ("not what it says", "not what it says"),
        "smallint": ("", ""),
    }
    answer = Answer(
        tuple(Column(kind, kind) for kind in kinds), [[text for text, _ in kinds.values()]]
    )
    (record,) = answer.records()
    assert record == {kind: value for kind, (_, value) in kinds.items()}


@pytest.mark.parametrize(("state", "verb"), [("FAILED", "failed"), ("CANCELLED", "cancelled")])
def test_a_query_that_does_not_succeed_is_one_line_with_athenas_reason(
    state: str, verb: str, athena: Athena
) -> None:
    athena.started(Status={"State": state, "StateChangeReason": "line 1:8:\n  no such column"})
    with pytest.raises(QueryError) as caught:
        athena.answer()
    assert str(caught.value) == f"Athena {verb} the query: line 1:8: no such column"


def test_a_query_that_athena_refuses_is_one_line_with_athenas_reason(athena: Athena) -> None:
    athena.stubber.add_client_error(
        "start_query_execution", "InvalidRequestException", "WorkGroup is disabled"
    )
    with pytest.raises(AwsError, match=r"^Athena refused the query: WorkGroup is disabled$"):
        athena.answer()
