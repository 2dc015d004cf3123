"""PipelineStack: the whole pipeline of one environment."""

from collections.abc import Iterable, Sequence

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
        self._config = config
        self._daily_retention = Duration.days(config.daily_retention_days)
        removal_policy = {
            # A first deployment that fails leaves nothing behind.
            "retain": RemovalPolicy.RETAIN_ON_UPDATE_OR_DELETE,
            "destroy": RemovalPolicy.DESTROY,
        }[config.removal_policy]

        self._storage = Storage(
            self,
            "Storage",
            raw_retention=Duration.days(config.raw_retention_days),
            parsed_retention=Duration.days(config.parsed_retention_days),
            daily_retention=self._daily_retention,
            removal_policy=removal_policy,
        )
        self._catalog = Catalog(
            self,
            "Catalog",
            database_name=names.database_name(config.name),
            workgroup_name=names.workgroup_name(config.name),
            bucket=self._storage.parsed,
            retention=Duration.days(config.parsed_retention_days),
            daily_retention=self._daily_retention,
            scan_limit=_SCAN_LIMIT,
            removal_policy=removal_policy,
        )
        self._monitoring = Monitoring(
            self,
            "Monitoring",
            alarm_email=config.alarm_email,
            metric_math=config.name != "local",
        )
        self._dashboard = Dashboard(self, "Dashboard", name=f"{self.stack_name}-{self.region}")
        CfnOutput(self, "RawBucket", value=self._storage.raw.bucket_name)
        CfnOutput(self, "ParsedBucket", value=self._storage.parsed.bucket_name)

        self._add_devices(channels, hook_code)
        for contract in contracts:
            self._add_channel(contract, parser_code, silence_minutes.get(contract.channel))
        self._add_history(channels, rebuild_code)
        self._add_silent_devices(contracts, rebuild_code)
        for key, value in {"environment": config.name, **config.tags}.items():
            Tags.of(self).add(key, value)

    def _add_devices(self, channels: Sequence[str], hook_code: lambda_.Code) -> None:
        """What devices may do, and how they get their certificates."""
        access = DeviceAccess(
            self,
            "DeviceAccess",
            environment=self._config.name,
            channels=channels,
            log_level=self._config.iot_log_level,
        )
        provisioning = FleetProvisioning(
            self,
            "FleetProvisioning",
            environment=self._config.name,
            device_policy_name=access.policy_name,
            thing_group_name=access.thing_group_name,
            hook_code=hook_code,
        )
        provisioning.node.add_dependency(access)
        self._dashboard.add_alarms(
            "Provisioning", self._monitoring.watch_provisioning(provisioning.template_name)
        )

    def _add_channel(
        self, contract: Contract, parser_code: lambda_.Code, silence_minutes: int | None
    ) -> None:
        """The pipeline of one channel."""
        channel = contract.channel
        buffering_interval = Duration.seconds(self._config.buffering_interval_seconds)
        pipeline = Construct(self, channel)
        batcher = FirehoseBatcher(
            pipeline,
            "FirehoseBatcher",
            bucket=self._storage.raw,
            channel=channel,
            buffering_interval=buffering_interval,
            buffering_size=Size.mebibytes(self._config.buffering_size_mebibytes),
        )
        ingest = IoTIngest(
            pipeline,
            "IoTIngest",
            environment=self._config.name,
            channel=channel,
            delivery_stream=batcher.delivery_stream,
            undelivered_bucket=self._storage.raw,
        )
        parser = ParserFunction(
            pipeline,
            "ParserFunction",
            code=parser_code,
            channel=channel,
            raw_bucket=self._storage.raw,
            parsed_bucket=self._storage.parsed,
            memory=Size.mebibytes(self._config.parser_memory_mebibytes),
            timeout=Duration.seconds(self._config.parser_timeout_seconds),
            maximum_concurrency=self._config.parser_maximum_concurrency,
        )
        self._storage.notify_of_raw_objects(parser.queue, prefix=batcher.raw_prefix)
        self._catalog.add_tables(contract)
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
        silence = None if silence_minutes is None else Duration.minutes(silence_minutes)
        alarms = self._monitoring.watch_channel(metrics, silence=silence)
        self._dashboard.add_channel(metrics, alarms)

    def _add_history(self, channels: Sequence[str], rebuild_code: lambda_.Code) -> None:
        """The daily tables: what rebuilds them every night."""
        rebuild = RebuildFunction(
            self,
            "RebuildFunction",
            code=rebuild_code,
            channels=channels,
            raw_bucket=self._storage.raw,
            parsed_bucket=self._storage.parsed,
            daily_retention=self._daily_retention,
            memory=Size.mebibytes(self._config.rebuild_memory_mebibytes),
        )
        history = History(
            self,
            "History",
            function=rebuild.function,
            channels=channels,
            failures=rebuild.metric("HoursFailed"),
            maximum_concurrency=self._config.rebuild_maximum_concurrency,
            tolerated_failure_percentage=self._config.rebuild_tolerated_failure_percentage,
        )
        CfnOutput(self, "HistoryStateMachine", value=history.state_machine.state_machine_arn)
        self._dashboard.add_history(
            history.state_machine,
            rebuild.metric,
            self._monitoring.watch_history(history.state_machine, rebuild.metric),
        )

    def _add_silent_devices(
        self, contracts: Iterable[Contract], rebuild_code: lambda_.Code
    ) -> None:
        """The hourly search, if a contract says how often devices report."""
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
                parsed_bucket=self._storage.parsed,
                topic=self._monitoring.topic,
            )
            self._dashboard.add_alarms(
                "Silent devices", self._monitoring.watch_silent_devices(silent_devices.function)
            )
