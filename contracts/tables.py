"""The tables of a channel: the columns that the pipeline adds, and the names that are taken."""

from typing import Any

from contracts.schema import Field, Kind, Schema


def _row(name: str, kind: Kind, description: str, **more: Any) -> Field:
    return Field(name, Schema(kind=kind, description=description, **more), required=True)


# What the pipeline adds to every parsed row, after the contract's own fields.
ROW_FIELDS: tuple[Field, ...] = (
    _row("thing_name", "string", "The device, as its policy guarantees: the topic's third level."),
    _row("customer", "string", "The customer in the topic; null without one.", nullable=True),
    _row("received_at", "integer", "When AWS IoT Core received the message.", timestamp="ms"),
    _row("raw_key", "string", "The object in the raw bucket that holds the message."),
    _row("raw_line", "integer", "Line of the message in that object, from 1."),
    _row("reading_index", "integer", "Place of the reading in its message, from 0."),
)

# One line of a rejected object.
REJECTED_FIELDS: tuple[Field, ...] = (
    _row("reason", "string", "What was expected and found, without the device's values."),
    _row("path", "string", "JSON path of the first violation.", nullable=True),
    _row("thing_name", "string", "The device; null if the topic does not tell.", nullable=True),
    _row(
        "received_at",
        "integer",
        "When AWS IoT Core received the message; null if the line does not tell.",
        timestamp="ms",
        nullable=True,
    ),
    _row("raw_key", "string", "The object in the raw bucket that holds the message."),
    _row("raw_line", "integer", "Line of the message in that object, from 1."),
    _row("reading_index", "integer", "Place in its message, from 0; null: all.", nullable=True),
    _row("line", "string", "The raw line, base64."),
)

# Both tables are partitioned by the UTC hour in which the batch arrived.
PARTITION_COLUMNS = ("dt", "hour")

# Names that no field of a contract may have: the columns of every table, planned ones included.
RESERVED_COLUMNS = frozenset({*(field.name for field in ROW_FIELDS), *PARTITION_COLUMNS, "day"})

# A channel has the table of its own name, and others whose names end in these.
TABLE_SUFFIXES = ("_rejected", "_daily")

# Words that SELECT takes as a name only in double quotes. DDL reserves more; nobody needs it here.
# https://docs.aws.amazon.com/athena/latest/ug/reserved-words.html
RESERVED_WORDS = frozenset(
    """
    alter and as between by case cast constraint create cross cube current_catalog current_date
    current_path current_schema current_time current_timestamp current_user deallocate delete
    describe distinct drop else end escape except exec execute exists extract false first for from
    full group grouping having in inner insert intersect into is join json_array json_exists
    json_object json_query json_table json_value last left like listagg localtime localtimestamp
    natural normalize not null of on or order outer prepare recursive right rollup select skip
    table then trim true uescape unbounded unescape union unnest using values when where with
    """.split()  # noqa: SIM905  # a list of a hundred lines would be harder to read
)
