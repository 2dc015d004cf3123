"""The table in Athena."""

from datetime import UTC, datetime, timedelta

import contracts
from contracts import names
from device import cli
from device.errors import ExitStatus
from ops import athena
from ops.doctor import remedies
from ops.doctor.context import Context
from ops.doctor.examination import Stage
from ops.doctor.findings import Failed


def exists(context: Context) -> str:
    """The table is there, reads the parsed bucket, and has the contract's fields."""
    glue = context.client("glue")
    database = names.database_name(context.environment_name)
    try:
        found = glue.get_table(DatabaseName=database, Name=context.channel)["Table"]
    except glue.exceptions.EntityNotFoundException:
        raise Failed(
            f"there is no table {database}.{context.channel}", remedies.deploy(context)
        ) from None
    storage = found["StorageDescriptor"]
    expected = f"s3://{context.deployed.parsed_bucket}/parsed/{context.channel}/"
    if storage["Location"] != expected:
        raise Failed(
            f"the table reads {storage['Location']}, not {expected}", remedies.deploy(context)
        )
    columns = {column["Name"] for column in storage["Columns"]}
    fields = [field.column for field in contracts.load(context.channel).fields]
    missing = [column for column in fields if column not in columns]
    if missing:
        raise Failed(f"the table has no column {', '.join(missing)}", remedies.deploy(context))
    return f"{database}.{context.channel}"


def rows(context: Context) -> str:
    """Athena counts the rows of this device."""
    yesterday = (datetime.now(UTC) - timedelta(days=1)).date()
    try:
        answer = athena.run(
            context.cloud,
            f"SELECT count(*), max(received_at) FROM {context.channel} "
            f"WHERE dt >= '{yesterday}' AND thing_name = '{context.thing_name}'",
        )
    except athena.QueryError as error:
        raise Failed(
            f"Athena cannot count the rows: {error.reason}",
            "fix what Athena says: move away an object that it cannot read, enable the workgroup "
            f"{names.workgroup_name(context.environment_name)}, or {remedies.deploy(context)}",
        ) from None
    ((count, newest),) = answer.rows
    if count == "0" or count is None or newest is None:
        return "no row of this device since yesterday; --send follows a reading to its row"
    return (
        f"{cli.counted(int(count), 'row')} of this device since yesterday, "
        f"the newest received at {newest[:19]}Z"
    )


STAGE = Stage("table", ExitStatus.TABLE, {"exists": exists, "rows": rows}, needs=("environment",))
