"""How doctor's checks run."""

from pathlib import Path

import pytest
from botocore.exceptions import ClientError

from device.errors import AwsError, ExitStatus
from ops.doctor.changes import Changes
from ops.doctor.context import Context
from ops.doctor.examination import Stage, examine, first_status
from ops.doctor.findings import CheckOutcome, Failed, Finding, Skipped
from ops.doctor.stages import STAGES, chosen, needed_for


def good(_: Context) -> str:
    return "seen"


def bad(_: Context) -> str:
    raise Failed("broken", "run this")


def examined(*made: Stage) -> list[Finding]:
    return list(examine(Context("dev", "sensor-1", "telemetry", Path()), made))


def outcomes(*made: Stage) -> list[tuple[str, str]]:
    return [(finding.outcome.value, finding.detail) for finding in examined(*made)]


def test_a_stage_ends_at_its_first_failure_and_the_next_one_goes_on() -> None:
    assert outcomes(
        Stage("one", ExitStatus.RULE, {"a": good, "b": bad, "c": good}),
        Stage("two", ExitStatus.TABLE, {"d": good}),
    ) == [("ok", "seen"), ("failed", "broken"), ("skipped", "b failed"), ("ok", "seen")]


def test_a_stage_that_needs_a_failed_one_is_skipped() -> None:
    assert outcomes(
        Stage("one", ExitStatus.RULE, {"a": bad}),
        Stage("two", ExitStatus.TABLE, {"b": good}, needs=("one",)),
    ) == [("failed", "broken"), ("skipped", "one failed")]


def test_what_is_skipped_stops_nothing() -> None:
    def unknown(_: Context) -> str:
        raise Skipped("no metrics")

    made = Stage("one", ExitStatus.RULE, {"a": unknown, "b": good})
    assert outcomes(made) == [("skipped", "no metrics"), ("ok", "seen")]


def test_a_missing_permission_is_a_reason_to_skip() -> None:
    def forbidden(_: Context) -> str:
        raise ClientError({"Error": {"Code": "AccessDenied", "Message": "no"}}, "GetTopicRule")

    (finding,) = examined(Stage("one", ExitStatus.RULE, {"a": forbidden}))
    assert finding.outcome is CheckOutcome.SKIPPED
    assert "do not permit GetTopicRule" in finding.detail


def test_our_own_errors_come_with_their_remedy() -> None:
    def refused(_: Context) -> str:
        raise AwsError("expected one thing, got another", remedy="run that")

    (finding,) = examined(Stage("one", ExitStatus.RULE, {"a": refused}))
    assert (finding.detail, finding.remedy) == ("expected one thing, got another", "run that")


def test_without_a_device_or_an_account_what_needs_them_is_skipped(tmp_path: Path) -> None:
    context = Context("dev", "sensor-1", "telemetry", tmp_path)
    later = [stage for stage in STAGES if stage.name not in {"identity", "environment"}]
    assert {finding.outcome for finding in examine(context, later)} == {CheckOutcome.SKIPPED}


def test_the_probe_needs_the_hops_and_neither_a_spool_nor_other_readings() -> None:
    names = [stage.name for stage in STAGES if stage.name not in {"spool", "readings"}]
    assert chosen(connect=True, send=True)[-1].needs == tuple(names)


def test_what_went_wrong_earlier_is_a_failure_that_stops_nothing() -> None:
    def earlier(_: Context) -> str:
        raise Failed("rejected yesterday", "send what the contract allows", blocks=False)

    made = (
        Stage("one", ExitStatus.INVALID, {"a": earlier, "b": good}),
        Stage("two", ExitStatus.PROBE, {"c": good}, needs=("one",)),
    )
    found = examined(*made)
    assert [finding.outcome for finding in found] == ["failed", "ok", "ok"]
    assert first_status(found, made) == ExitStatus.INVALID


def test_the_exit_status_is_that_of_the_first_stage_that_failed() -> None:
    made = (
        Stage("one", ExitStatus.IDENTITY, {"a": good}),
        Stage("two", ExitStatus.TABLE, {"b": bad}),
        Stage("three", ExitStatus.RULE, {"c": bad}),
    )
    assert first_status(examined(*made), made) == ExitStatus.TABLE
    assert first_status(examined(made[0]), made) == ExitStatus.OK


def test_a_stage_is_found_with_those_that_it_needs() -> None:
    def names(stage: str) -> list[str]:
        return [found.name for found in needed_for(stage)]

    assert names("spool") == ["spool"]
    assert names("rule") == ["environment", "rule"]
    assert names("broker") == ["identity", "environment", "network", "registration", "broker"]


def test_a_check_that_trips_over_the_unexpected_stops_no_other() -> None:
    def surprised(_: Context) -> str:
        raise KeyError("Statement")

    made = Stage("one", ExitStatus.RULE, {"a": surprised, "b": good})
    seen = "the check itself failed unexpectedly: KeyError('Statement')"
    assert outcomes(made) == [("skipped", seen), ("ok", "seen")]


def test_only_what_was_not_there_before_explains_why_a_probe_is_lost() -> None:
    seen = ["1 rejected"]

    def rejected(_: Context) -> str:
        raise Failed(seen[-1], "send what the contract allows", blocks=False)

    def unknown(_: Context) -> str:
        raise Skipped("no metrics")

    changes = Changes(Context("dev", "sensor-1", "telemetry", Path()), [unknown, good, rejected])
    changes.report()
    seen.append("2 rejected")
    with pytest.raises(Failed, match="2 rejected") as caught:
        changes.report()
    assert caught.value.blocks
