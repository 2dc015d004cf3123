"""ops.query: the command."""

import json
from collections.abc import Callable
from types import SimpleNamespace

import pytest
from click.testing import CliRunner, Result

from device.errors import AwsError, ExitStatus
from ops import query
from ops.athena import Answer, Column
from ops.named_queries import NAMED
from ops.query import main
from ops.scan import estimate
from ops.scan.estimate import Estimate
from ops.scan.filters import NotUnderstoodError
from tests.unit.ops.test_statements import READS, WRITES

Invoke = Callable[..., Result]
NOTHING = Answer((), [])


@pytest.fixture
def invoke(monkeypatch: pytest.MonkeyPatch) -> Invoke:
    """Run the command with an Athena that gives this answer; what was run is in ``invoke.ran``."""

    def invoke(
        *arguments: str,
        answer: Answer = NOTHING,
        terminal: int = 0,
        cost: Callable[..., Estimate] | None = None,
    ) -> Result:
        def run(_environment: str, sql: str) -> Answer:
            ran.append(sql)
            return answer

        monkeypatch.setattr(query, "session_for", lambda name: name)
        monkeypatch.setattr(estimate, "estimate", lambda *_: None)
        monkeypatch.setattr(query, "run", run)
        if cost is not None:
            monkeypatch.setattr(estimate, "estimate", cost)
        if terminal:
            monkeypatch.setattr(query, "sys", SimpleNamespace(stdout=Terminal()))
            monkeypatch.setenv("COLUMNS", str(terminal))
        return CliRunner().invoke(main, ["--env", "local", *arguments])

    ran: list[str] = []
    invoke.ran = ran  # type: ignore[attr-defined]  # for the tests that look at it
    return invoke


class Terminal:
    encoding = "utf-8"

    def isatty(self) -> bool:
        return True


def wide(columns: int) -> Answer:
    return Answer(
        tuple(Column(f"column_{number}", "varchar") for number in range(columns)),
        [[f"value_{number}" for number in range(columns)]],
    )


@pytest.mark.parametrize("sql", ["", " ", "-- nothing", "()", ";"])
@pytest.mark.parametrize("options", [[], ["--allow-write"]])
def test_what_holds_no_statement_is_not_run(sql: str, options: list[str], invoke: Invoke) -> None:
    result = invoke(*options, "--", sql)
    assert result.exit_code == 2
    assert "expected a SQL statement, got none" in result.stderr
    assert invoke.ran == []  # type: ignore[attr-defined]  # as above


@pytest.mark.parametrize("sql", [sql for sql, verb in WRITES if verb != "nothing"])
def test_what_may_write_is_not_run(sql: str, invoke: Invoke) -> None:
    result = invoke("--", sql)
    assert result.exit_code == 2
    assert "add --allow-write to run it" in result.stderr
    assert invoke.ran == []  # type: ignore[attr-defined]  # as above


def test_what_may_write_is_run_when_that_is_allowed(invoke: Invoke) -> None:
    assert invoke("DROP TABLE telemetry", "--allow-write").exit_code == 0
    assert invoke.ran == ["DROP TABLE telemetry"]  # type: ignore[attr-defined]  # as above


@pytest.mark.parametrize(
    "arguments", [*(["--", sql] for sql in READS), *(["--named", n] for n in NAMED)]
)
def test_what_reads_is_run(arguments: list[str], invoke: Invoke) -> None:
    assert invoke(*arguments).exit_code == 0


@pytest.mark.parametrize("output", ["table", "csv", "json"])
def test_a_file_or_pipe_gets_every_column(output: str, invoke: Invoke) -> None:
    result = invoke("SELECT 1", "--format", output, answer=wide(300))
    assert all(f"value_{number}" in result.stdout for number in range(300))
    assert result.stderr.startswith("1 row, ")


@pytest.mark.parametrize("output", ["table", "csv", "json"])
def test_columns_are_shown_as_chosen(output: str, invoke: Invoke) -> None:
    chosen = "column_7, column_2"
    result = invoke("SELECT 1", "--columns", chosen, "--format", output, answer=wide(10))
    assert "column_3" not in result.stdout
    assert result.stdout.index("column_7") < result.stdout.index("column_2")


def test_a_column_that_the_answer_does_not_have_is_a_usage_error(invoke: Invoke) -> None:
    result = invoke("SELECT 1", "--columns", "column_1,nope", answer=wide(2))
    assert result.exit_code == 2
    assert "expected columns of the answer (column_0, column_1), got 'nope'" in result.stderr


@pytest.mark.parametrize("output", ["table", "csv", "json"])
def test_an_answer_without_columns_is_a_count_of_rows_only(output: str, invoke: Invoke) -> None:
    result = invoke("SELECT 1", "--format", output)
    assert result.exit_code == 0
    assert result.stdout == ""
    assert result.stderr.startswith("0 rows, ")


def test_a_plan_is_printed_line_by_line(invoke: Invoke) -> None:
    plan = Answer((Column("Query Plan", "varchar"),), [["a\n  b"]], is_text=True)
    assert invoke("EXPLAIN SELECT 1", answer=plan).stdout == "a\n  b\n"
    in_json = invoke("EXPLAIN SELECT 1", "--format", "json", answer=plan).stdout
    assert json.loads(in_json) == {"Query Plan": "a\n  b"}


def test_a_list_of_no_tables_prints_nothing(invoke: Invoke) -> None:
    nothing = Answer((Column("tab_name", "varchar"),), [], is_text=True)
    assert invoke("SHOW TABLES", answer=nothing).stdout == ""


def test_csv_is_exact_in_a_file_and_harmless_on_a_terminal(invoke: Invoke) -> None:
    found = Answer((Column("v", "varchar"),), [["\x1b[2J\x9b1m"]])
    arguments = ("SELECT 1", "--format", "csv")
    assert invoke(*arguments, answer=found).stdout == "v\n\x1b[2J\x9b1m\n"
    assert invoke(*arguments, answer=found, terminal=80).stdout == "v\n\\x1b[2J\\x9b1m\n"


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["--env", "local"],
        ["SELECT 1"],
        ["SELECT 1", "--named", "latest", "--env", "local"],
        ["--named", "oldest", "--env", "local"],
        ["SELECT 1", "--env", "local", "--format", "xml"],
    ],
)
def test_a_command_line_that_says_too_little_or_too_much_is_a_usage_error(
    arguments: list[str],
) -> None:
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == 2
    assert "Error: " in result.output


@pytest.mark.parametrize("channel", ["nope", "telemetry; DROP TABLE telemetry", ""])
def test_a_channel_that_has_no_table_is_refused(channel: str) -> None:
    arguments = ["--named", "latest", "--env", "local", "--channel", channel]
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == 2
    assert "is not 'telemetry'" in result.output


def test_an_unknown_environment_is_one_line() -> None:
    result = CliRunner().invoke(main, ["SELECT 1", "--env", "production"])
    assert result.exit_code != 0
    assert result.output.startswith("error: expected an environment of cdk.json (")
    assert len(result.output.splitlines()) == 1


def test_every_named_query_is_listed_with_what_it_tells() -> None:
    result = CliRunner().invoke(main, ["--list"])
    assert result.exit_code == 0
    assert [line.split()[0] for line in result.output.splitlines()] == list(NAMED)


def test_the_help_has_examples_and_exit_statuses() -> None:
    result = CliRunner().invoke(main, ["-h"])
    assert "Examples:\n  python -m ops.query --env dev --named latest\n" in result.output
    assert "Exit status:\n  0 " in result.output


def costing(megabytes: int, *, is_complete: bool = True) -> Callable[..., Estimate]:
    found = Estimate(
        objects=5,
        bytes=megabytes * 1024**2,
        is_complete=is_complete,
        tables=["telemetry"],
        advice=["telemetry: there is no filter on dt"],
    )
    return lambda *_: found


def failing(error: Exception) -> Callable[..., Estimate]:
    def fail(*_: object) -> Estimate:
        raise error

    return fail


def test_says_on_stderr_what_the_query_reads_and_costs_before_it_runs(invoke: Invoke) -> None:
    result = invoke("SELECT 1", "--format", "json", answer=wide(1), cost=costing(100))
    assert json.loads(result.stdout) == {"column_0": "value_0"}
    lines = result.stderr.splitlines()
    assert lines[0] == "telemetry: there is no filter on dt"
    assert lines[1].startswith("reads at most 5 objects, 104.86 MB, of telemetry; costs at most $")
    assert lines[2].startswith("1 row, ")


@pytest.mark.parametrize(
    ("cost", "runs"),
    [
        (costing(100), True),  # 100 MB are $0.000477
        (costing(1_000), False),
        (costing(1, is_complete=False), False),
        (failing(NotUnderstoodError("the SQL cannot be read")), False),
        (failing(AwsError("GetTable: not permitted", ExitStatus.FORBIDDEN)), False),
    ],
)
def test_a_query_that_may_cost_more_than_the_limit_is_not_run(
    cost: Callable[..., Estimate], runs: bool, invoke: Invoke
) -> None:
    result = invoke("SELECT 1", "--max-cost", "0.0005", cost=cost)
    assert invoke.ran == (["SELECT 1"] if runs else [])  # type: ignore[attr-defined]  # as above
    assert result.exit_code in ({0} if runs else {ExitStatus.TOO_EXPENSIVE, ExitStatus.FORBIDDEN})
    assert runs or result.stderr.splitlines()[-1].startswith("error: ")


@pytest.mark.parametrize(
    "error",
    [
        NotUnderstoodError("the SQL cannot be read"),
        AwsError("GetTable: not permitted", ExitStatus.FORBIDDEN),
    ],
)
def test_without_a_limit_a_query_runs_although_its_cost_cannot_be_told(
    error: Exception, invoke: Invoke
) -> None:
    result = invoke("SELECT 1", cost=failing(error))
    assert result.exit_code == 0
    assert f"cannot tell what the query costs: {error}" in result.stderr
    assert invoke.ran == ["SELECT 1"]  # type: ignore[attr-defined]  # as above


def test_without_credentials_the_error_is_said_once(invoke: Invoke) -> None:
    error = AwsError("expected AWS credentials", ExitStatus.CREDENTIALS)
    result = invoke("SELECT 1", cost=failing(error))
    assert result.exit_code == ExitStatus.CREDENTIALS
    assert result.stderr == "error: expected AWS credentials\n"


@pytest.mark.parametrize("sql", ["SHOW TABLES", "DESCRIBE telemetry", "EXPLAIN SELECT 1"])
def test_what_reads_no_data_is_not_estimated(sql: str, invoke: Invoke) -> None:
    result = invoke(sql, "--max-cost", "0", cost=failing(AssertionError("estimated")))
    assert result.exit_code == 0


@pytest.mark.parametrize("cost", ["nan", "inf", "-1", "a", ""])
def test_a_limit_that_is_no_amount_is_a_usage_error(cost: str, invoke: Invoke) -> None:
    assert invoke("SELECT 1", "--max-cost", cost).exit_code == 2
    assert invoke.ran == []  # type: ignore[attr-defined]  # as above


SERIES = Answer(
    (Column("received_at", "timestamp"), Column("temperature", "double")),
    [[f"2026-11-25 10:{minute:02}:00.000", str(minute)] for minute in range(30)],
)


def test_draws_a_field_instead_of_the_rows(invoke: Invoke) -> None:
    result = invoke("SELECT 1", "--plot", "temperature", answer=SERIES)
    assert result.exit_code == 0
    assert any(0x2800 < ord(c) <= 0x28FF for c in result.stdout)
    assert "2026-11-25 10:00:00Z to 2026-11-25 10:29:00Z" in result.stdout
    assert "\x1b" not in result.stdout
    assert result.stderr.startswith("30 rows, ")


@pytest.mark.parametrize(
    "more", [["--format", "csv"], ["--format", "json"], ["--columns", "temperature"]]
)
def test_a_picture_has_no_format_and_no_columns(more: list[str], invoke: Invoke) -> None:
    result = invoke("SELECT 1", "--plot", "temperature", *more, answer=SERIES)
    assert result.exit_code == 2
    assert invoke.ran == []  # type: ignore[attr-defined]  # as above


def test_a_field_that_cannot_be_drawn_is_a_usage_error(invoke: Invoke) -> None:
    result = invoke("SELECT 1", "--plot", "received_at", answer=SERIES)
    assert result.exit_code == 2
    assert "expected a column of numbers of the answer (temperature)" in result.stderr
    assert result.stdout == ""


def test_a_terminal_without_utf_8_is_named_before_the_query_runs() -> None:
    arguments = ["--env", "local", "SELECT 1", "--plot", "temperature"]
    result = CliRunner(charset="latin-1").invoke(main, arguments)
    assert result.exit_code == 2
    assert "expected stdout in UTF-8 for --plot, got latin-1" in result.output
