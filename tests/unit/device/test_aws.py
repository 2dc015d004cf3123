"""device.aws: the right account, or one line that says what to do."""

import json
import os
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import botocore.client
import pytest
from botocore import exceptions

from device import aws
from device.errors import AwsError, ExitStatus

Answer = Callable[[str], dict[str, Any]]


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project with three environments, and a shell with no AWS settings."""
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    environments = {
        "dev": {},
        "prod": {"account": "222222222222", "region": "eu-central-1"},
        "local": {"region": "us-east-1"},
    }
    (tmp_path / "cdk.json").write_text(json.dumps({"context": {"environments": environments}}))
    return tmp_path


@pytest.fixture
def signed_in(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIAEXAMPLE")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "example")


def answer_with(monkeypatch: pytest.MonkeyPatch, answer: Answer) -> None:
    def call(_: object, operation: str, __: object) -> dict[str, Any]:
        return answer(operation)

    monkeypatch.setattr(botocore.client.BaseClient, "_make_api_call", call)


def account(number: str) -> Answer:
    return lambda _: {"Account": number}


def failing(error: Exception) -> Answer:
    def answer(_: str) -> dict[str, Any]:
        raise error

    return answer


def write_local(root: Path) -> None:
    folder = root / ".local" / "aws"
    folder.mkdir(parents=True)
    (folder / "config").write_text(
        "[profile local]\nregion = us-east-1\nendpoint_url = https://localhost:4566\n"
        "ca_bundle = /project/ca.pem\naws_access_key_id = LOCAL\naws_secret_access_key = s%cret\n"
    )
    (root / "mqtt-ca.pem").write_text("its CA")
    broker = {"host": "localhost", "port": 8884, "ca": str(root / "mqtt-ca.pem")}
    (root / ".local" / "mqtt.json").write_text(json.dumps(broker))


def test_the_region_comes_from_cdk_json_and_else_from_the_shell(
    root: Path, signed_in: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer_with(monkeypatch, account("222222222222"))
    monkeypatch.setenv("AWS_REGION", "us-west-2")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-west-2")
    assert aws.session_for("prod", root).region == "eu-central-1"
    assert aws.session_for("dev", root).region == "us-west-2"


@pytest.mark.parametrize(
    ("shell", "region"),
    [
        ({"AWS_REGION": "us-west-2"}, "us-west-2"),
        ({"AWS_DEFAULT_REGION": "us-west-1"}, "us-west-1"),
        ({"AWS_REGION": "us-west-2", "AWS_DEFAULT_REGION": "us-west-1"}, "us-west-2"),
        ({"AWS_REGION": "", "AWS_DEFAULT_REGION": "us-west-1"}, "us-west-1"),
    ],
)
def test_both_variables_of_the_region_count_and_aws_region_first(
    root: Path,
    signed_in: None,
    monkeypatch: pytest.MonkeyPatch,
    shell: dict[str, str],
    region: str,
) -> None:
    answer_with(monkeypatch, account("222222222222"))
    for name, value in shell.items():
        monkeypatch.setenv(name, value)
    assert aws.session_for("dev", root).region == region


def test_no_region_is_an_error(root: Path, signed_in: None) -> None:
    with pytest.raises(AwsError, match=r"environments\.dev\.region in cdk\.json") as caught:
        aws.session_for("dev", root)
    assert caught.value.status is ExitStatus.ENVIRONMENT


def test_an_unknown_environment_is_an_error_that_lists_the_known_ones(root: Path) -> None:
    with pytest.raises(AwsError, match=r"\(dev, local, prod\), got 'qa'") as caught:
        aws.session_for("qa", root)
    assert caught.value.status is ExitStatus.ENVIRONMENT


def test_another_account_is_an_error(
    root: Path, signed_in: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer_with(monkeypatch, account("333333333333"))
    with pytest.raises(AwsError, match=r"of account 222222222222 .* got account 333") as caught:
        aws.session_for("prod", root)
    assert caught.value.status is ExitStatus.ENVIRONMENT


def test_an_endpoint_that_is_no_url_is_an_error(
    root: Path, signed_in: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "no-url")
    with pytest.raises(AwsError, match="Invalid endpoint: no-url; correct AWS_ENDPOINT_URL"):
        aws.session_for("prod", root)


def test_no_credentials_is_an_error(root: Path) -> None:
    with pytest.raises(AwsError, match="expected AWS credentials for prod") as caught:
        aws.session_for("prod", root)
    assert caught.value.status is ExitStatus.CREDENTIALS


def test_an_unknown_profile_is_an_error(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_PROFILE", "nonesuch")
    with pytest.raises(AwsError, match="nonesuch") as caught:
        aws.session_for("prod", root)
    assert caught.value.status is ExitStatus.CREDENTIALS


@pytest.mark.parametrize(
    ("error", "status"),
    [
        pytest.param("ExpiredToken", ExitStatus.CREDENTIALS, id="expired"),
        pytest.param("InvalidClientTokenId", ExitStatus.CREDENTIALS, id="unknown key"),
        pytest.param("AccessDenied", ExitStatus.FORBIDDEN, id="denied by STS"),
        pytest.param("UnauthorizedException", ExitStatus.FORBIDDEN, id="denied by IoT"),
        pytest.param("ThrottlingException", ExitStatus.SERVICE, id="anything else"),
    ],
)
def test_aws_saying_no_is_one_line_with_its_own_status(
    root: Path, signed_in: None, monkeypatch: pytest.MonkeyPatch, error: str, status: ExitStatus
) -> None:
    response: Any = {"Error": {"Code": error, "Message": "not\nyou"}}
    answer_with(monkeypatch, failing(exceptions.ClientError(response, "GetCallerIdentity")))
    with pytest.raises(AwsError, match="not you") as caught:
        aws.session_for("prod", root)
    assert caught.value.status is status
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("SignatureDoesNotMatch", "Signature expired: 20261124T120000Z is now earlier than 2026…"),
        ("InvalidSignatureException", "Signature not yet current: 20261124T120000Z is still …"),
        ("RequestTimeTooSkewed", "The difference between the request time and the current …"),
    ],
)
def test_a_clock_that_is_off_is_not_taken_for_bad_credentials(
    root: Path, signed_in: None, monkeypatch: pytest.MonkeyPatch, code: str, message: str
) -> None:
    response: Any = {"Error": {"Code": code, "Message": message}}
    answer_with(monkeypatch, failing(exceptions.ClientError(response, "GetCallerIdentity")))
    with pytest.raises(AwsError, match=r"; set the clock$") as caught:
        aws.session_for("prod", root)
    assert caught.value.status is ExitStatus.ENVIRONMENT


def test_aws_tells_the_time_without_credentials(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    response: Any = {
        "Error": {"Code": "MissingAuthenticationToken", "Message": "no"},
        "ResponseMetadata": {"HTTPHeaders": {"date": "Tue, 24 Nov 2026 12:00:00 GMT"}},
    }
    answer_with(monkeypatch, failing(exceptions.ClientError(response, "GetCallerIdentity")))
    assert aws.time_of("prod", root) == datetime(2026, 11, 24, 12, tzinfo=UTC)
    response["ResponseMetadata"]["HTTPHeaders"] = {}
    assert aws.time_of("prod", root) is None


def test_an_unreachable_endpoint_is_an_error(
    root: Path, signed_in: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    error = exceptions.EndpointConnectionError(endpoint_url="https://sts.example", error="refused")
    answer_with(monkeypatch, failing(error))
    with pytest.raises(AwsError, match="out of reach") as caught:
        aws.session_for("prod", root)
    assert caught.value.status is ExitStatus.UNREACHABLE


@pytest.mark.parametrize("missing", [".local", ".local/aws/config"])
def test_a_local_stack_that_is_not_running_is_an_error(root: Path, missing: str) -> None:
    if missing != ".local":
        write_local(root)
        (root / missing).write_text("[default]\n")
    with pytest.raises(AwsError) as caught:
        aws.session_for("local", root)
    assert str(caught.value) == "the local stack is not running; run python -m local up"
    assert caught.value.status is ExitStatus.UNREACHABLE


def test_the_local_environment_is_the_emulator_whatever_the_shell_says(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_local(root)
    (root / "credentials").write_text("[local]\naws_access_key_id = REAL\n")
    for name, value in {
        "AWS_ACCESS_KEY_ID": "REAL",
        "AWS_SECRET_ACCESS_KEY": "real",
        "AWS_SESSION_TOKEN": "real",
        "AWS_CA_BUNDLE": "/etc/ssl/certs/ca-certificates.crt",
        "AWS_ENDPOINT_URL": "https://example.com",
        "AWS_ENDPOINT_URL_IOT": "https://example.com",
        "AWS_IGNORE_CONFIGURED_ENDPOINT_URLS": "true",
        "AWS_PROFILE": "real",
        "AWS_REGION": "eu-north-1",
        "AWS_SHARED_CREDENTIALS_FILE": str(root / "credentials"),
    }.items():
        monkeypatch.setenv(name, value)
    environment = dict(os.environ)
    answer_with(monkeypatch, account("000000000000"))
    session = aws.session_for("local", root).session
    credentials = session.get_credentials()
    assert credentials is not None
    assert (credentials.access_key, credentials.secret_key) == ("LOCAL", "s%cret")
    assert credentials.token is None
    clients: list[Any] = [session.client("iot"), session.client("s3"), session.client("athena")]
    for client in clients:
        assert client.meta.endpoint_url == "https://localhost:4566"
        assert client.meta.region_name == "us-east-1"
        assert client._endpoint.http_session._verify == "/project/ca.pem"
    assert dict(os.environ) == environment


def test_the_local_broker_is_the_one_that_listens_now(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_local(root)
    answer_with(monkeypatch, account("000000000000"))
    environment = aws.session_for("local", root)
    assert environment.broker() == aws.BrokerAddress("localhost", 8884, b"its CA")
    (root / ".local" / "mqtt.json").unlink()
    with pytest.raises(AwsError, match="the local stack is not running"):
        environment.broker()


def test_amazons_broker_is_vouched_for_by_amazons_roots(
    root: Path, signed_in: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers = {
        "GetCallerIdentity": {"Account": "222222222222"},
        "DescribeEndpoint": {"endpointAddress": "abc-ats.iot.eu-central-1.amazonaws.com"},
    }
    answer_with(monkeypatch, lambda operation: answers[operation])
    broker = aws.session_for("prod", root).broker()
    assert (broker.host, broker.port) == ("abc-ats.iot.eu-central-1.amazonaws.com", 8883)
    assert broker.ca_pem.count(b"BEGIN CERTIFICATE") == 2
