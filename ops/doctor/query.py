"""One Athena query, to its end."""

import time
from typing import Any

from contracts import names

_PAUSE_SECONDS = 0.3


class QueryError(Exception):
    """Athena failed, cancelled or refused the query; the message is Athena's reason."""


def run(athena: Any, environment: str, sql: str) -> list[list[str]]:
    """Return the rows that ``sql`` gives in the environment's workgroup; null is empty text.

    Raises:
        QueryError: Athena failed, cancelled or refused it: its workgroup is missing or disabled.
        botocore.exceptions.ClientError: Athena cannot be asked.
    """
    try:
        query_id = athena.start_query_execution(
            QueryString=sql,
            QueryExecutionContext={"Database": names.database_name(environment)},
            WorkGroup=names.workgroup_name(environment),
        )["QueryExecutionId"]
    except athena.exceptions.InvalidRequestException as error:
        raise QueryError(error.response["Error"]["Message"]) from None
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
