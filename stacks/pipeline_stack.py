"""PipelineStack: the whole pipeline of one environment."""

from collections.abc import Iterable

from aws_cdk import CfnOutput, Duration, RemovalPolicy, Size, Stack, Tags
from aws_cdk import aws_lambda as lambda_
from constructs import Construct

from contracts import Contract, names
from stacks.config import EnvironmentConfig
from stacks.constructs.catalog import Catalog
from stacks.constructs.dashboard import Dashboard
from stacks.constructs.device_access import DeviceAccess
from stacks.constructs.firehose_batcher import FirehoseBatcher
from stacks.constructs.fleet_provisioning import FleetProvisioning
from stacks.constructs.history import History
from stacks.constructs.iot_ingest import IoTIngest
from stacks.constructs.monitoring import Monitoring
from stacks.constructs.parser_function import ParserFunction
from stacks.constructs.rebuild_function import RebuildFunction
from stacks.constructs.silent_devices import SilentDevices
from stacks.constructs.storage import Storage
from stacks.helpers.channel_metrics import ChannelMetrics

# A query without WHERE costs at most half a dollar, at Athena's 5 USD per TB.
_SCAN_LIMIT = Size.gibibytes(100)


class PipelineStack(Stack):
    """Devices' messages from MQTT to Athena: one pipeline per contract, and what they share.

    Args:
        config: The environment.
        contracts: Each gets a pipeline.
        parser_code: The parser's asset.
        rebuild_code: The asset of the function that rebuilds history.
        hook_code: The pre-provisioning hook's asset.
    """

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        config: EnvironmentConfig,
        contracts: Iterable[Contract],
        parser_code: lambda_.Code,
        rebuild_code: lambda_.Code,
        hook_code: lambda_.Code,
    ) -> None:
        super().__init__(
            scope,
            construct_id,
            stack_name=names.stack_name(config.name),
            description=f"Device telemetry to a data lake, environment {config.name}",
            env=config.environment,
            termination_protection=config.removal_policy == "retain" and config.name != "local",
        )
        contracts = tuple(contracts)
        channels = [contract.channel for contract in contracts]
        silence_minutes = config.silence_minutes_of(channels)
        buffering_interval = Duration.seconds(config.buffering_interval_seconds)
        removal_policy = {
            # A first deployment that fails leaves nothing behind.
            "retain": RemovalPolicy.RETAIN_ON_UPDATE_OR_DELETE,
            "destroy": RemovalPolicy.DESTROY,
        }[config.removal_policy]

        daily_retention = Duration.days(config.daily_retention_days)
        storage = Storage(
            self,
            "Storage",
            raw_retention=Duration.days(config.raw_retention_days),
            parsed_retention=Duration.days(config.parsed_retention_days),
            daily_retention=daily_retention,
            removal_policy=removal_policy,
        )
        catalog = Catalog(
            self,
            "Catalog",
            database_name=names.database_name(config.name),
            workgroup_name=names.workgroup_name(config.name),
            bucket=storage.parsed,
            retention=Duration.days(config.parsed_retention_days),
            daily_retention=daily_retention,
            scan_limit=_SCAN_LIMIT,
            removal_policy=removal_policy,
        )
        monitoring = Monitoring(
            self,
            "Monitoring",
            alarm_email=config.alarm_email,
            metric_math=config.name != "local",
        )
        dashboard = Dashboard(self, "Dashboard", name=f"{self.stack_name}-{self.region}")
        access = DeviceAccess(
            self,
            "DeviceAccess",
            environment=config.name,
            channels=channels,
            log_level=config.iot_log_level,
        )
        provisioning = FleetProvisioning(
            self,
            "FleetProvisioning",
            environment=config.name,
            device_policy_name=access.policy_name,
            thing_group_name=access.thing_group_name,
            hook_code=hook_code,
        )
        provisioning.node.add_dependency(access)
        dashboard.add_alarms(
            "Provisioning", monitoring.watch_provisioning(provisioning.template_name)
        )
        rebuild = RebuildFunction(
            self,
            "RebuildFunction",
            code=rebuild_code,
            channels=channels,
            raw_bucket=storage.raw,
            parsed_bucket=storage.parsed,
            daily_retention=daily_retention,
            memory=Size.mebibytes(config.rebuild_memory_mebibytes),
        )
        history = History(
            self,
            "History",
            function=rebuild.function,
            channels=channels,
            failures=rebuild.metric("HoursFailed"),
            maximum_concurrency=config.rebuild_maximum_concurrency,
            tolerated_failure_percentage=config.rebuild_tolerated_failure_percentage,
        )
        CfnOutput(self, "HistoryStateMachine", value=history.state_machine.state_machine_arn)
        CfnOutput(self, "RawBucket", value=storage.raw.bucket_name)
        CfnOutput(self, "ParsedBucket", value=storage.parsed.bucket_name)

        for contract in contracts:
            channel = contract.channel
            pipeline = Construct(self, channel)
            batcher = FirehoseBatcher(
                pipeline,
                "FirehoseBatcher",
                bucket=storage.raw,
                channel=channel,
                buffering_interval=buffering_interval,
                buffering_size=Size.mebibytes(config.buffering_size_mebibytes),
            )
            ingest = IoTIngest(
                pipeline,
                "IoTIngest",
                environment=config.name,
                channel=channel,
                delivery_stream=batcher.delivery_stream,
                undelivered_bucket=storage.raw,
            )
            parser = ParserFunction(
                pipeline,
                "ParserFunction",
                code=parser_code,
                channel=channel,
                raw_bucket=storage.raw,
                parsed_bucket=storage.parsed,
                memory=Size.mebibytes(config.parser_memory_mebibytes),
                timeout=Duration.seconds(config.parser_timeout_seconds),
                maximum_concurrency=config.parser_maximum_concurrency,
            )
            storage.notify_of_raw_objects(parser.queue, prefix=batcher.raw_prefix)
            catalog.add_tables(contract)
            metrics = ChannelMetrics(
                channel=channel,
                rule_name=ingest.rule_name,
                delivery_stream_name=batcher.delivery_stream.delivery_stream_ref.delivery_stream_name,
                buffering_interval=buffering_interval,
                function=parser.function,
                queue=parser.queue,
                dead_letter_queue=parser.dead_letter_queue,
                parser=parser.metric,
            )
            minutes = silence_minutes.get(channel)
            alarms = monitoring.watch_channel(
                metrics, silence=None if minutes is None else Duration.minutes(minutes)
            )
            dashboard.add_channel(metrics, alarms)
        dashboard.add_history(
            history.state_machine,
            rebuild.metric,
            monitoring.watch_history(history.state_machine, rebuild.metric),
        )

        expected_every = {
            contract.channel: Duration.seconds(round(contract.expected_every.total_seconds()))
            for contract in contracts
            if contract.expected_every is not None
        }
        if expected_every:
            silent_devices = SilentDevices(
                self,
                "SilentDevices",
                code=rebuild_code,
                expected_every=expected_every,
                parsed_bucket=storage.parsed,
                topic=monitoring.topic,
            )
            dashboard.add_alarms(
                "Silent devices", monitoring.watch_silent_devices(silent_devices.function)
            )

        for key, value in {"environment": config.name, **config.tags}.items():
            Tags.of(self).add(key, value)
