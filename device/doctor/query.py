"""One Athena query, to its end."""

import time
from typing import Any

from contracts import names

_PAUSE_SECONDS = 0.3


class QueryError(Exception):
    """Athena failed or cancelled the query; the message is Athena's reason."""


def run(athena: Any, environment: str, sql: str) -> list[list[str]]:
    """Return the rows that ``sql`` gives in the environment's workgroup; null is empty text.

    Raises:
        QueryError: Athena failed or cancelled it.
        botocore.exceptions.ClientError: Athena refuses it.
    """
    query_id = athena.start_query_execution(
        QueryString=sql,
        QueryExecutionContext={"Database": names.database_name(environment)},
        WorkGroup=names.workgroup_name(environment),
    )["QueryExecutionId"]
    while True:
        status = athena.get_query_execution(QueryExecutionId=query_id)["QueryExecution"]["Status"]
        if status["State"] == "SUCCEEDED":
            break
        if status["State"] in {"FAILED", "CANCELLED"}:
            raise QueryError(" ".join(status.get("StateChangeReason", "no reason given").split()))
        time.sleep(_PAUSE_SECONDS)
    rows = athena.get_query_results(QueryExecutionId=query_id)["ResultSet"]["Rows"]
    # The first row of a SELECT repeats the columns' names.
    return [[cell.get("VarCharValue", "") for cell in row["Data"]] for row in rows[1:]]
