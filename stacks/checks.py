"""The checks that every synthesis runs: a finding ends it."""

import contextlib
import datetime
import hashlib
import json
import os
from collections.abc import Callable
from importlib import metadata
from pathlib import Path

from aws_cdk import App, Validations
from aws_cdk.cx_api import CloudAssembly

_PASSED = Path(__file__).resolve().parent.parent / ".build" / "passed"
_REPORT = "validation-report.json"
# What the CDK writes beside templates and metadata.
_ABOUT_THE_RUN = {_REPORT, "performance-counters.json"}


def add_checks(app: App) -> None:
    """Check the templates of ``app`` when it is synthesized.

    cdk-nag's AwsSolutions pack finds insecure settings, which need a written reason
    (stacks/helpers/acknowledgements.py). cdk-preflight finds what AWS would refuse during the
    deployment. The CDK itself checks against CloudFormation's schemas and rules.
    """
    from cdk_nag import AwsSolutionsChecks  # noqa: PLC0415  # loading both takes half a second
    from cdk_preflight import Preflight  # noqa: PLC0415

    Validations.of(app).add_plugins(AwsSolutionsChecks(app))
    Preflight.apply(app)


def synthesize(
    build: Callable[[App], None], *, passed: Path = _PASSED, today: datetime.date | None = None
) -> None:
    """Synthesize the app that ``build`` fills, and check what has not passed yet.

    The checks take longer than all the rest. So the app is synthesized without them first. A
    result that is byte for byte one that the same checks passed today needs no more. Any other
    is built and synthesized again, with the checks.

    Args:
        build: Adds the stacks to a new app.
        passed: Folder that remembers results without any finding, by their fingerprints.
        today: None for today in UTC.

    Raises:
        RuntimeError: There are findings, and no CDK command line that reports them.
    """
    unchecked = App(builtin_cloud_formation_validation=False)
    build(unchecked)
    assembly = unchecked.synth()
    mark = passed / _fingerprint(assembly, today or datetime.datetime.now(datetime.UTC).date())
    if mark.exists():
        # The command line would read the findings of an earlier synthesis.
        Path(assembly.directory, _REPORT).unlink(missing_ok=True)
        return
    app = App()
    add_checks(app)
    build(app)
    report = json.loads(Path(app.synth().directory, _REPORT).read_bytes())
    if report["pluginReports"] == []:
        with contextlib.suppress(OSError):  # then the next synthesis checks it again
            passed.mkdir(parents=True, exist_ok=True)
            mark.touch()


def _fingerprint(assembly: CloudAssembly, today: datetime.date) -> str:
    """Identify templates and metadata (with the acknowledgements), the checks, and the day.

    Rules may depend on the day, for example on the end of a Lambda runtime's support.
    """
    checks = [
        *(metadata.version(name) for name in ("aws-cdk-lib", "cdk-nag", "cdk-preflight")),
        Path(__file__).read_text("utf-8"),
        os.environ.get("CDK_VALIDATION"),  # "false" switches the CDK's own checks off
        today.isoformat(),
    ]
    digest = hashlib.sha256(json.dumps(checks).encode())
    for path in sorted(Path(assembly.directory).rglob("*.json")):
        if path.name not in _ABOUT_THE_RUN:
            content = path.read_bytes()
            digest.update(f"\0{path.name}\0{len(content)}\0".encode() + content)
    return digest.hexdigest()
