"""Run a query in Athena and fetch its whole answer."""

import contextlib
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from itertools import count
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError

from contracts import names
from device.aws import AwsEnvironment, explained
from device.errors import AwsError

if TYPE_CHECKING:  # the stubs are a development requirement
    from mypy_boto3_athena import AthenaClient
    from mypy_boto3_athena.type_defs import QueryExecutionTypeDef, RowTypeDef

_NUMBERS: dict[str, Callable[[str], object]] = {
    "tinyint": int,
    "smallint": int,
    "integer": int,
    "bigint": int,
    "real": float,
    "float": float,
    "double": float,
    "decimal": Decimal,
}


class QueryError(AwsError):
    """Athena refused, failed or cancelled the query.

    Attributes:
        reason: Athena's own words, on one line.
    """

    def __init__(self, verb: str, reason: str) -> None:
        self.reason = " ".join(reason.split())
        super().__init__(f"Athena {verb} the query: {self.reason}")


@dataclass(frozen=True, slots=True)
class Column:
    """A column of an answer: its name, and Athena's name of its type."""

    name: str
    type: str

    @property
    def is_number(self) -> bool:
        """Whether its values are numbers."""
        return self.type in _NUMBERS


@dataclass(frozen=True, slots=True)
class Answer:
    """The answer to a query.

    Attributes:
        columns: Columns in the query's order, with unique names.
        rows: One value per column: Athena's text, or None for null.
        scanned_bytes: Bytes that the query is charged for (https://aws.amazon.com/athena/pricing).
        seconds: Time from the start to the last row.
        is_text: Whether it is the text of SHOW, DESCRIBE or EXPLAIN instead of a table.
    """

    columns: tuple[Column, ...]
    rows: list[list[str | None]]
    scanned_bytes: int = 0
    seconds: float = 0.0
    is_text: bool = False

    def records(self) -> Iterator[dict[str, Any]]:
        """The rows as JSON objects; numbers and booleans have their JSON types."""
        for row in self.rows:
            yield {
                column.name: None if value is None else _value(column.type, value)
                for column, value in zip(self.columns, row, strict=True)
            }


def _value(type_: str, text: str) -> object:
    if type_ == "boolean":
        return {"true": True, "false": False}.get(text, text)
    try:
        value = _NUMBERS.get(type_, str)(text)
    except (ValueError, InvalidOperation):
        return text
    # JSON has neither NaN nor infinity, so they stay text.
    finite = not isinstance(value, float) or value - value == 0
    return value if finite else text


def run(environment: AwsEnvironment, sql: str) -> Answer:
    """Run ``sql`` and wait for its answer; on Ctrl-C, stop it in Athena.

    Raises:
        QueryError: Athena refused, failed or cancelled the query, for example at the workgroup's
            scan limit.
        AwsError: Athena cannot be used.
    """
    started = time.monotonic()
    with explained(environment.name):
        athena: AthenaClient = environment.session.client("athena")
        try:
            query_id = athena.start_query_execution(
                QueryString=sql,
                QueryExecutionContext={"Database": names.database_name(environment.name)},
                WorkGroup=names.workgroup_name(environment.name),
            )["QueryExecutionId"]
        except athena.exceptions.InvalidRequestException as error:
            raise QueryError("refused", error.response["Error"]["Message"]) from None
        try:
            execution = _wait(athena, query_id)
        except KeyboardInterrupt:
            with contextlib.suppress(ClientError):  # no permission to stop a query
                athena.stop_query_execution(QueryExecutionId=query_id)
            raise
        columns, rows = _fetch(athena, query_id)
    is_text = execution.get("StatementType", "DML") != "DML"
    # The answer to SELECT begins with the column names as a row. The answer to SHOW does not: its
    # first row may happen to equal its column's name.
    if not is_text and rows[:1] == [[column.name for column in columns]]:
        del rows[0]
    columns, rows = _aligned(columns, rows)
    scanned_bytes = execution.get("Statistics", {}).get("DataScannedInBytes", 0)
    return Answer(columns, rows, scanned_bytes, time.monotonic() - started, is_text)


def _wait(athena: "AthenaClient", query_id: str) -> "QueryExecutionTypeDef":
    pause = 0.1
    while True:
        execution = athena.get_query_execution(QueryExecutionId=query_id)["QueryExecution"]
        state = execution["Status"]["State"]
        if state == "SUCCEEDED":
            return execution
        if state in {"FAILED", "CANCELLED"}:
            reason = execution["Status"].get("StateChangeReason", "no reason given")
            raise QueryError(state.lower(), reason)
        time.sleep(pause)
        pause = min(pause * 1.5, 2.0)


def _fetch(
    athena: "AthenaClient", query_id: str
) -> tuple[tuple[Column, ...], list[list[str | None]]]:
    columns: tuple[Column, ...] = ()
    rows: list[list[str | None]] = []
    for page in athena.get_paginator("get_query_results").paginate(QueryExecutionId=query_id):
        result = page["ResultSet"]
        columns = tuple(
            Column(info["Name"], info["Type"]) for info in result["ResultSetMetadata"]["ColumnInfo"]
        )
        rows += [_cells(row, len(columns)) for row in result["Rows"]]
    return columns, rows


def _cells(row: "RowTypeDef", columns: int) -> list[str | None]:
    cells = [cell.get("VarCharValue") for cell in row.get("Data", [])]
    # DESCRIBE gives one cell per row, with tabs between name, type and comment.
    if len(cells) == 1 < columns and cells[0] is not None:
        return [cell.strip() for cell in cells[0].split("\t")]
    return cells


def _aligned(
    columns: Sequence[Column], rows: list[list[str | None]]
) -> tuple[tuple[Column, ...], list[list[str | None]]]:
    """Give each column a unique name, and each row one cell per column."""
    width = max([len(columns), *map(len, rows)])
    named: list[Column] = []
    taken = {column.name for column in columns}
    seen: set[str] = set()
    for at in range(width):
        name, kind = (columns[at].name, columns[at].type) if at < len(columns) else ("", "varchar")
        name = name or f"_col{at}"  # Athena's name for a column without one
        if name in seen:
            name = next(new for n in count(2) if (new := f"{name}_{n}") not in taken | seen)
        seen.add(name)
        named.append(Column(name, kind))
    return tuple(named), [row + [None] * (width - len(row)) for row in rows]
