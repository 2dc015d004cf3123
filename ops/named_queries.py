"""The queries that ``python -m ops.query --named`` knows."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import date, timedelta

import contracts
from contracts import Contract, time_field
from ops import raw_lines
from ops.athena import Answer, Column

# The day is a constant, not current_date, so that Athena reads only the partitions it needs.
_SINCE = "dt >= '{since}'"

_NEWEST = 50
_PAYLOAD_SHOWN = 300
_PLACE = '"newest first"'  # no field of a contract can have this name


@dataclass(frozen=True, slots=True)
class NamedQuery:
    """A query that has a name.

    Attributes:
        about: What the query answers, for ``--list``.
        build: Makes the SQL for a contract and the first UTC day of arrival to read.
        finish: Turns Athena's answer into the answer to show; its second argument says whether
            that is shown as a table.
    """

    about: str
    build: Callable[[Contract, date], str]
    finish: Callable[[Answer, bool], Answer] = lambda answer, _: answer


def _latest(contract: Contract, since: date) -> str:
    """One row per thing and customer, chosen by the reading's own time.

    A reading counts as no newer than its arrival, so a clock that is ahead hides no later readings.
    """
    time = _time_column(contract)
    fields = [_quoted(field.column) for field in contract.fields]
    fields.sort(key=lambda name: name != time)
    return (
        f"SELECT thing_name, customer, {', '.join(fields)}, received_at FROM ("
        "SELECT *, row_number() OVER ("
        f"PARTITION BY thing_name, customer ORDER BY least({time}, received_at) DESC, "
        f"received_at DESC, raw_line DESC, reading_index DESC) AS {_PLACE} "
        f"FROM {contract.channel} WHERE {_SINCE.format(since=since)}) AS ranked "
        f"WHERE {_PLACE} = 1 ORDER BY thing_name, customer"
    )


def _time_column(contract: Contract) -> str:
    """The time of a reading: its own, or the time of arrival."""
    field = time_field(contract)
    return "received_at" if field is None else _quoted(field.column)


def _quoted(column: str) -> str:
    """Quote a column, since a contract's field may have a name that SQL reserves."""
    return f'"{column}"'


def _volume(contract: Contract, since: date) -> str:
    return (
        "SELECT dt, hour, count(*) AS readings, count(DISTINCT thing_name) AS devices "
        f"FROM {contract.channel} WHERE {_SINCE.format(since=since)} "
        "GROUP BY dt, hour ORDER BY dt, hour"
    )


def _days(contract: Contract, since: date) -> str:
    """Earlier arrivals come from the daily table, those of ``since`` and later from the live one.

    The daily table has the raw keys, which contain the day of arrival: that is where the two tables
    are joined without a gap and without an overlap. A clock that is wrong by more than this query
    covers counts on the day of arrival, as it does in the daily table.
    """
    channel, time = contract.channel, _time_column(contract)
    first, end = since - timedelta(days=6), since + timedelta(days=3)
    return (
        "SELECT day, count(*) AS readings, count(DISTINCT thing_name) AS devices FROM ("
        f"SELECT day, thing_name FROM {channel}_daily "
        f"WHERE day >= '{first}' AND raw_key < 'raw/{channel}/dt={since}' "
        f"UNION ALL SELECT CAST(CAST(CASE WHEN {time} >= TIMESTAMP '{first} 00:00:00' "
        f"AND {time} < TIMESTAMP '{end} 00:00:00' THEN {time} ELSE received_at END AS date) "
        f"AS varchar) AS day, thing_name FROM {channel} WHERE {_SINCE.format(since=since)}"
        ") AS rows_of_both GROUP BY day ORDER BY day"
    )


def _rejected(contract: Contract, since: date) -> str:
    # The raw key contains the time of its batch.
    return (
        f"SELECT reason, path, reading_index, line FROM {contract.channel}_rejected "
        f"WHERE {_SINCE.format(since=since)} "
        "ORDER BY dt DESC, hour DESC, raw_key DESC, raw_line DESC, reading_index DESC "
        f"LIMIT {_NEWEST}"
    )


def _with_payloads(answer: Answer, in_table: bool) -> Answer:
    """Add thing, time and payload from the raw lines. A table shows the beginning of a payload."""
    columns = (
        Column("thing_name", "varchar"),
        Column("received_at", "timestamp"),
        Column("reason", "varchar"),
        Column("payload", "varchar"),
        Column("path", "varchar"),
    )
    rows = []
    for reason, path, index, line in answer.rows:
        envelope = raw_lines.envelope_of(line or "")
        payload = raw_lines.payload_of(line or "", None if index is None else int(index))
        if in_table and len(payload) > _PAYLOAD_SHOWN:
            payload = f"{payload[:_PAYLOAD_SHOWN]}… of {len(payload):,} characters"
        thing = raw_lines.thing_of(envelope.get("topic"))
        received_at = raw_lines.time_of(envelope.get("received_at"))
        rows.append([thing, received_at, reason, payload, path])
    return replace(answer, columns=columns, rows=rows)


def _reasons(contract: Contract, since: date) -> str:
    return (
        f"SELECT reason, path, count(*) AS readings FROM {contract.channel}_rejected "
        f"WHERE {_SINCE.format(since=since)} GROUP BY reason, path ORDER BY readings DESC"
    )


def _duplicates(contract: Contract, since: date) -> str:
    """Readings of one thing and customer with the same time and values are one reading."""
    columns = ["thing_name", "customer", *(_quoted(field.column) for field in contract.fields)]
    if (time := _time_column(contract)) not in columns:
        columns.append(time)
    listed = ", ".join(columns)
    return (
        f"SELECT {listed}, count(*) AS copies "
        f"FROM {contract.channel} WHERE {_SINCE.format(since=since)} "
        f"GROUP BY {listed} HAVING count(*) > 1 ORDER BY copies DESC"
    )


NAMED = {
    "latest": NamedQuery(
        "the newest reading of each device and customer since yesterday, by its own time", _latest
    ),
    "volume": NamedQuery("readings and devices per hour of arrival since yesterday", _volume),
    "days": NamedQuery(
        "readings and devices per day of a week, from the daily and the live table", _days
    ),
    "rejected": NamedQuery(
        f"the {_NEWEST} newest rejected readings since yesterday, with their payloads",
        _rejected,
        finish=_with_payloads,
    ),
    "reasons": NamedQuery(
        "why readings were rejected since yesterday, most frequent first", _reasons
    ),
    "duplicates": NamedQuery("readings that arrived more than once since yesterday", _duplicates),
}


def sql_of(name: str, channel: str, since: date) -> str:
    """The SQL of the query ``name`` for ``channel``, from the UTC day of arrival ``since``.

    Raises:
        ContractError: The channel has no valid contract.
    """
    return NAMED[name].build(contracts.load(channel), since)
