"""The queries that ``python -m ops.query --named`` knows."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import date

import contracts
from contracts import Contract

# A constant, not current_date: with it, Athena reads the partitions of these days only.
_SINCE = "dt >= '{since}'"

# The topic is dt/{env}/{thing}/{channel}, and /{customer} after it.
_CUSTOMER = "nullif(split_part(topic, '/', 5), '')"

_PLACE = '"newest first"'  # no field of a contract can have this name


@dataclass(frozen=True, slots=True)
class NamedQuery:
    """A query that has a name.

    Attributes:
        about: What it tells, for ``--list``.
        build: Makes its SQL, for a contract, from what has arrived since a UTC day.
    """

    about: str
    build: Callable[[Contract, date], str]


def _latest(contract: Contract, since: date) -> str:
    """One row per thing and customer, chosen by the reading's own time.

    A reading cannot be newer than its arrival: a clock that is ahead does not hide later readings.
    """
    time = _time_column(contract)
    fields = [_quoted(field.column) for field in contract.fields]
    fields.sort(key=lambda name: name != time)
    return (
        f"SELECT thing_name, customer, {', '.join(fields)}, received_at FROM ("
        f"SELECT *, {_CUSTOMER} AS customer, row_number() OVER ("
        f"PARTITION BY topic ORDER BY least({time}, received_at) DESC, "
        f"received_at DESC, raw_line DESC, reading_index DESC) AS {_PLACE} "
        f"FROM {contract.channel} WHERE {_SINCE.format(since=since)}) AS ranked "
        f"WHERE {_PLACE} = 1 ORDER BY thing_name, customer"
    )


def _time_column(contract: Contract) -> str:
    """When a reading was taken: its first required time, or when it was received."""
    return next(
        (
            _quoted(field.column)
            for field in contract.fields
            if field.required
            and not field.schema.nullable
            and (field.schema.timestamp is not None or field.schema.date_time)
        ),
        "received_at",
    )


def _quoted(column: str) -> str:
    """A contract's field may have a name that SQL reserves."""
    return f'"{column}"'


def _volume(contract: Contract, since: date) -> str:
    return (
        "SELECT dt, hour, count(*) AS readings, count(DISTINCT thing_name) AS devices "
        f"FROM {contract.channel} WHERE {_SINCE.format(since=since)} "
        "GROUP BY dt, hour ORDER BY dt, hour"
    )


def _rejected(contract: Contract, since: date) -> str:
    return (
        f"SELECT reason, path, count(*) AS readings FROM {contract.channel}_rejected "
        f"WHERE {_SINCE.format(since=since)} GROUP BY reason, path ORDER BY readings DESC"
    )


def _duplicates(contract: Contract, since: date) -> str:
    return (
        "SELECT thing_name, reading_id, count(*) AS copies "
        f"FROM {contract.channel} WHERE {_SINCE.format(since=since)} "
        "GROUP BY thing_name, reading_id HAVING count(*) > 1 ORDER BY copies DESC"
    )


NAMED = {
    "latest": NamedQuery(
        "the newest reading of each device and customer since yesterday, by its own time", _latest
    ),
    "volume": NamedQuery("readings and devices per hour of arrival since yesterday", _volume),
    "rejected": NamedQuery(
        "why readings were rejected since yesterday, the commonest reason first", _rejected
    ),
    "duplicates": NamedQuery("readings that arrived more than once since yesterday", _duplicates),
}


def sql_of(name: str, channel: str, since: date) -> str:
    """The SQL of the query ``name``, over what has arrived for ``channel`` since a UTC day.

    Raises:
        ContractError: The channel has no valid contract.
    """
    return NAMED[name].build(contracts.load(channel), since)
