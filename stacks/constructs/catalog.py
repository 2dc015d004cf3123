"""Catalog: the tables that Athena reads, made from the contracts."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from aws_cdk import Aws, Duration, RemovalPolicy, Size
from aws_cdk import aws_athena as athena
from aws_cdk import aws_glue as glue
from aws_cdk import aws_s3 as s3
from constructs import Construct

from contracts import REJECTED_FIELDS, ROW_FIELDS, Contract, ContractError, Field, Schema
from stacks.helpers.private_bucket import private_bucket

_SCALARS = {"string": "string", "integer": "bigint", "number": "double", "boolean": "boolean"}

# https://docs.aws.amazon.com/glue/latest/webapi/API_Column.html
_MAX_COMMENT_BYTES = 255
_MAX_TYPE_CHARACTERS = 131_072
# https://docs.aws.amazon.com/glue/latest/webapi/API_TableInput.html
_MAX_DESCRIPTION_BYTES = 2048


class Catalog(Construct):
    """A Glue database with three tables for each contract, and the workgroup to query them.

    Partitions are projected from the keys: a new hour or day is there as soon as its first
    object, and there is no crawler.

    Args:
        database_name: Lower-case letters, digits and ``_``.
        workgroup_name: Athena workgroup.
        bucket: Holds ``parsed/``, ``rejected/`` and ``daily/``.
        retention: How far back partitions are projected: the life of the objects.
        daily_retention: The same for ``daily/``.
        scan_limit: A query that would read more is cancelled.
        removal_policy: What becomes of query results with the stack.

    Attributes:
        results: Bucket of Athena's query results, which expire after a week.
    """

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        database_name: str,
        workgroup_name: str,
        bucket: s3.IBucket,
        retention: Duration,
        daily_retention: Duration,
        scan_limit: Size,
        removal_policy: RemovalPolicy,
    ) -> None:
        super().__init__(scope, construct_id)
        self._bucket = bucket
        self._retention = retention
        self._daily_retention = daily_retention
        self._database = glue.CfnDatabase(
            self,
            "Database",
            catalog_id=Aws.ACCOUNT_ID,
            database_input=glue.CfnDatabase.DatabaseInputProperty(
                name=database_name, description="Telemetry of devices"
            ),
        )
        self._database_name = database_name
        self.results = private_bucket(
            self,
            "Results",
            retention={"": Duration.days(7)},
            noncurrent_retention=Duration.days(1),
            removal_policy=removal_policy,
            why_no_access_log="Holds query results only, for a week at most.",
        )
        athena.CfnWorkGroup(
            self,
            "WorkGroup",
            name=workgroup_name,
            # Its query history goes with it; without this, deleting the stack fails on it.
            recursive_delete_option=True,
            work_group_configuration=athena.CfnWorkGroup.WorkGroupConfigurationProperty(
                enforce_work_group_configuration=True,
                publish_cloud_watch_metrics_enabled=True,
                bytes_scanned_cutoff_per_query=int(scan_limit.to_bytes()),
                result_configuration=athena.CfnWorkGroup.ResultConfigurationProperty(
                    output_location=f"s3://{self.results.bucket_name}/",
                    encryption_configuration=athena.CfnWorkGroup.EncryptionConfigurationProperty(
                        encryption_option="SSE_S3"
                    ),
                ),
            ),
        )

    def add_tables(self, contract: Contract) -> None:
        """Add the tables of a channel.

        ``{channel}`` has the rows as they arrive, ``{channel}_daily`` the rebuilt days, and
        ``{channel}_rejected`` what did not fit.
        """
        rows: dict[str, Any] = {
            "fields": (*contract.fields, *ROW_FIELDS),
            "classification": "parquet",
            "input_format": "org.apache.hadoop.hive.ql.io.parquet.MapredParquetInputFormat",
            "output_format": "org.apache.hadoop.hive.ql.io.parquet.MapredParquetOutputFormat",
            "serde": "org.apache.hadoop.hive.ql.io.parquet.serde.ParquetHiveSerDe",
        }
        self._table(
            "Rows",
            name=contract.channel,
            description=contract.schema.description,
            prefix=f"parsed/{contract.channel}/",
            partitions=self._by_arrival(),
            **rows,
        )
        self._table(
            "Daily",
            name=f"{contract.channel}_daily",
            description=f"Rows of {contract.channel} by the day of their own time, rebuilt nightly",
            prefix=f"daily/{contract.channel}/",
            partitions=self._by_own_day(),
            **rows,
        )
        self._table(
            "Rejected",
            name=f"{contract.channel}_rejected",
            description=f"What did not fit the contract of {contract.channel}, and why.",
            prefix=f"rejected/{contract.channel}/",
            partitions=self._by_arrival(),
            fields=REJECTED_FIELDS,
            classification="json",
            input_format="org.apache.hadoop.mapred.TextInputFormat",
            output_format="org.apache.hadoop.hive.ql.io.HiveIgnoreKeyTextOutputFormat",
            serde="org.openx.data.jsonserde.JsonSerDe",
        )

    def _table(
        self,
        kind: str,
        *,
        name: str,
        description: str | None,
        prefix: str,
        partitions: "_Partitions",
        fields: Iterable[Field],
        classification: str,
        input_format: str,
        output_format: str,
        serde: str,
    ) -> None:
        location = self._bucket.s3_url_for_object(prefix)
        scope = self.node.try_find_child(kind) or Construct(self, kind)
        table = glue.CfnTable(
            scope,  # type: ignore[arg-type]  # every child of ours is a Construct
            name,
            catalog_id=Aws.ACCOUNT_ID,
            database_name=self._database_name,
            table_input=glue.CfnTable.TableInputProperty(
                name=name,
                description=one_line(description, _MAX_DESCRIPTION_BYTES),
                table_type="EXTERNAL_TABLE",
                parameters={
                    "classification": classification,
                    "projection.enabled": "true",
                    **partitions.projection,
                    "storage.location.template": location + partitions.template,
                },
                partition_keys=partitions.keys,
                storage_descriptor=glue.CfnTable.StorageDescriptorProperty(
                    location=location,
                    input_format=input_format,
                    output_format=output_format,
                    serde_info=glue.CfnTable.SerdeInfoProperty(serialization_library=serde),
                    columns=[
                        glue.CfnTable.ColumnProperty(
                            name=field.column,
                            type=_column_type(name, field),
                            comment=column_comment(field),
                        )
                        for field in fields
                    ],
                ),
            ),
        )
        table.node.add_dependency(self._database)

    def _by_arrival(self) -> "_Partitions":
        days = f"NOW-{self._retention.to_days():.0f}DAYS,NOW"
        return _Partitions(
            keys=[
                _key("dt", "string", "UTC day of arrival, yyyy-MM-dd"),
                _key("hour", "int", "UTC hour of arrival, 0 to 23"),
            ],
            projection={
                **_projected_days("dt", days),
                "projection.hour.type": "integer",
                "projection.hour.range": "0,23",
                "projection.hour.digits": "2",
            },
            template="dt=${dt}/hour=${hour}/",
        )

    def _by_own_day(self) -> "_Partitions":
        # A reading's own time is at most a day ahead of its arrival.
        days = f"NOW-{self._daily_retention.to_days():.0f}DAYS,NOW+1DAYS"
        return _Partitions(
            keys=[_key("day", "string", "UTC day of the reading's own time, yyyy-MM-dd")],
            projection=_projected_days("day", days),
            template="day=${day}/",
        )


@dataclass(frozen=True, slots=True)
class _Partitions:
    """How a table is divided.

    Attributes:
        keys: The partition columns.
        projection: Their values, as the table's parameters.
        template: Where they are in an object's key.
    """

    keys: list[glue.CfnTable.ColumnProperty]
    projection: Mapping[str, str]
    template: str


def _key(name: str, type_: str, comment: str) -> glue.CfnTable.ColumnProperty:
    return glue.CfnTable.ColumnProperty(name=name, type=type_, comment=comment)


def _projected_days(column: str, days: str) -> dict[str, str]:
    # https://docs.aws.amazon.com/athena/latest/ug/partition-projection-supported-types.html
    return {
        f"projection.{column}.type": "date",
        f"projection.{column}.format": "yyyy-MM-dd",
        f"projection.{column}.range": days,
        f"projection.{column}.interval": "1",
        f"projection.{column}.interval.unit": "DAYS",
    }


def _column_type(table: str, field: Field) -> str:
    column_type = glue_type(field.schema)
    if len(column_type) > _MAX_TYPE_CHARACTERS:
        raise ContractError(
            f"{table}.json: $.properties.{field.name}: expected a nested type of at most "
            f"{_MAX_TYPE_CHARACTERS:,} characters in Glue's words, got {len(column_type):,}"
        )
    return column_type


def glue_type(schema: Schema) -> str:
    """The Glue (Hive) type of a contract's value.

    See https://docs.aws.amazon.com/athena/latest/ug/data-types.html
    """
    if schema.timestamp or schema.date_time:
        return "timestamp"
    if schema.items is not None:
        return f"array<{glue_type(schema.items)}>"
    if schema.fields:
        members = ",".join(f"{field.column}:{glue_type(field.schema)}" for field in schema.fields)
        return f"struct<{members}>"
    return _SCALARS[schema.kind]


def column_comment(field: Field) -> str | None:
    """The description and the unit of a field, as one line that Glue accepts."""
    unit = f"[{field.schema.unit}]" if field.schema.unit else None
    return one_line(
        " ".join(part for part in (field.schema.description, unit) if part), _MAX_COMMENT_BYTES
    )


def one_line(text: str | None, max_bytes: int) -> str | None:
    """``text`` without line breaks and control characters, cut to ``max_bytes`` of UTF-8.

    None if nothing is left.
    """
    printable = "".join(c if c.isprintable() else " " for c in text or "")
    words = " ".join(printable.split()).encode(errors="ignore")
    return words[:max_bytes].decode(errors="ignore").rstrip() or None
