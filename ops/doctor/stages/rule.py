"""The topic rule."""

import re

from contracts import names
from device import cli
from device.errors import ExitStatus
from ops.doctor import metrics, remedies
from ops.doctor.context import Context
from ops.doctor.examination import Stage
from ops.doctor.findings import Failed, Skipped

_FILTER = re.compile(r"\bFROM\s+'([^']*)'", re.IGNORECASE)
_CHANNEL = re.compile(r"\bWHERE\s+topic\(4\)\s*=\s*'([^']*)'\s*$", re.IGNORECASE)


def exists(context: Context) -> str:
    """There is a rule for the channel."""
    iot = context.client("iot")
    try:
        return str(context.deployed.rule["ruleName"])
    # AWS answers Unauthorized for a missing rule, so as not to reveal which rules exist.
    except (iot.exceptions.ResourceNotFoundException, iot.exceptions.UnauthorizedException):
        name = names.rule_name(context.environment_name, context.channel)
        raise Failed(f"there is no rule {name}", remedies.deploy(context)) from None


def enabled(context: Context) -> str:
    """The rule is enabled."""
    rule = context.deployed.rule
    if rule["ruleDisabled"]:
        raise Failed(
            f"rule {rule['ruleName']} is disabled",
            remedies.command(context, f"iot enable-topic-rule --rule-name {rule['ruleName']}"),
        )
    return "enabled"


def filter_(context: Context) -> str:
    """The rule reads the device's topic."""
    sql = context.deployed.rule["sql"]
    found, condition = _FILTER.search(sql), _CHANNEL.search(sql)
    if found is None or not topic_matches(found[1], context.plain_topic):
        read = found[1] if found else "nothing"
        raise Failed(f"the rule reads {read}, not {context.plain_topic}", remedies.deploy(context))
    if condition is None or condition[1] != context.channel:
        raise Failed(
            f"the rule's WHERE does not select channel {context.channel}",
            remedies.deploy(context),
        )
    return f"reads {found[1]}, channel {condition[1]}"


def topic_matches(topic_filter: str, topic: str) -> bool:
    """Whether an MQTT topic filter, with ``+`` and ``#``, matches ``topic``."""
    wanted, levels = topic_filter.split("/"), topic.split("/")
    if wanted[-1] == "#":
        # In a rule's FROM, unlike in a subscription, "a/#" does not match "a".
        if len(levels) < len(wanted):
            return False
        wanted = wanted[:-1]
        levels = levels[: len(wanted)]
    return len(wanted) == len(levels) and all(
        expected in ("+", level) for expected, level in zip(wanted, levels, strict=True)
    )


def actions(context: Context) -> str:
    """The rule hands messages to Firehose, and keeps what Firehose refuses."""
    rule = context.deployed.rule
    if not any("firehose" in action for action in rule["actions"]):
        raise Failed("the rule has no Firehose action", remedies.deploy(context))
    if "s3" not in rule.get("errorAction", {}):
        raise Failed(
            "the rule has no error action: what Firehose refuses is lost",
            remedies.deploy(context),
        )
    return "to Firehose; what Firehose refuses goes to undelivered/"


def failures(context: Context) -> str:
    """The rule's action has not failed in the last hour."""
    rule = {"RuleName": str(context.deployed.rule["ruleName"])}
    try:
        failed = metrics.last_hour(
            context, "AWS/IoT", "Failure", {**rule, "ActionType": "Firehose"}
        )
    except Skipped:  # no value means no failure
        failed = 0
    if failed:
        raise Failed(
            f"the rule's Firehose action failed {cli.counted(int(failed), 'time')} "
            "in the last hour",
            "fix the error in the newest object under undelivered/",
            blocks=False,
        )
    matched = metrics.last_hour(context, "AWS/IoT", "TopicMatch", rule)
    return f"{cli.counted(int(matched), 'message')} matched in the last hour, none failed"


STAGE = Stage(
    "rule",
    ExitStatus.RULE,
    {
        "exists": exists,
        "enabled": enabled,
        "filter": filter_,
        "actions": actions,
        "metrics": failures,
    },
    needs=("environment",),
)
