"""What happened at each hop of a demo, and whether its sums agree."""

import json
from collections import Counter
from dataclasses import dataclass, field

from rich.console import Console
from rich.table import Table

from local.state import HOME, ROOT, write_privately
from ops.athena import Answer
from ops.tables import table_text

FIGURES = HOME / "demo.json"


@dataclass(slots=True)
class Figures:
    """What happened at each hop, of this run's devices only.

    Attributes:
        published: Messages that the broker acknowledged.
        refused: Messages that the broker refused: the impostor's.
        unknown: Messages without an answer.
        good: Acknowledged readings that fit the contract, by the way in which they were sent.
        readings_bad: Acknowledged readings that do not; a message without readings counts as one.
        raw_objects: Objects in the raw bucket with messages of this run.
        raw_messages: Messages in them.
        readings_parsed: Rows in the Parquet files.
        readings_rejected: Lines in the rejected files.
        reasons: Reasons of the rejected lines, with how many lines each.
        athena_rows: Rows that Athena counts.
        seconds: From start to answer.
    """

    published: int = 0
    refused: int = 0
    unknown: int = 0
    good: Counter[str] = field(default_factory=Counter)
    readings_bad: int = 0
    raw_objects: int = 0
    raw_messages: int = 0
    readings_parsed: int = 0
    readings_rejected: int = 0
    reasons: Counter[str] = field(default_factory=Counter)
    athena_rows: int = 0
    seconds: float = 0.0

    @property
    def readings_good(self) -> int:
        """Acknowledged readings that fit the contract."""
        return self.good.total()

    def sums(self) -> dict[str, bool]:
        """What must hold, and whether it does."""
        return {
            f"{self.published} acknowledged = {self.raw_messages} in the raw bucket": (
                self.published == self.raw_messages
            ),
            f"{self.readings_good} good readings sent = {self.readings_parsed} rows": (
                self.readings_good == self.readings_parsed
            ),
            f"{self.readings_bad} bad readings sent = {self.readings_rejected} rejected": (
                self.readings_bad == self.readings_rejected
            ),
            f"{self.readings_parsed} rows = {self.athena_rows} counted by Athena": (
                self.readings_parsed == self.athena_rows
            ),
            f"{self.refused} of 1 forged message refused": self.refused == 1,
            "every message was answered": self.unknown == 0,
        }


def write(figures: Figures) -> None:
    """Write ``.local/demo.json``."""
    document = {
        "ok": all(figures.sums().values()),
        "published": figures.published,
        "refused": figures.refused,
        "unknown": figures.unknown,
        "readings_sent": figures.readings_good + figures.readings_bad,
        "raw_objects": figures.raw_objects,
        "raw_messages": figures.raw_messages,
        "readings_parsed": figures.readings_parsed,
        "readings_rejected": figures.readings_rejected,
        "reasons": dict(figures.reasons.most_common()),
        "athena_rows": figures.athena_rows,
        "seconds": figures.seconds,
    }
    write_privately(FIGURES, json.dumps(document, indent=2) + "\n")


def show(console: Console, figures: Figures, sql: str, answer: Answer) -> None:
    """Print the figures, the query with its answer, and the sums."""
    hops = Table(show_edge=False, box=None, pad_edge=False, padding=(0, 2))
    for column in ("hop", "what happened"):
        hops.add_column(column)
    hops.add_row(
        "device → IoT Core",
        f"{figures.published} messages acknowledged, {figures.refused} refused (the impostor's)",
    )
    hops.add_row(
        "rule → Firehose → raw bucket",
        f"{figures.raw_messages} messages, objects: {figures.raw_objects}",
    )
    ways = " + ".join(f"{count} {kind}" for kind, count in figures.good.items() if count)
    hops.add_row("parser → parsed/", f"{figures.readings_parsed} rows of Parquet = {ways}")
    hops.add_row("parser → rejected/", f"{figures.readings_rejected} readings rejected, because")
    for reason, count in figures.reasons.most_common():
        hops.add_row("", f"  {count} x {reason}")
    hops.add_row("Athena", f"{figures.athena_rows} rows")
    console.print()
    console.print(hops)
    console.print(f"\n[dim]{sql}[/]\n")
    console.print(table_text(answer), markup=False, highlight=False)
    console.print()
    for text, holds in figures.sums().items():
        console.print(f"  [green]✓[/] {text}" if holds else f"  [red]✗ {text}[/]")
    console.print(f"\n{figures.seconds:.0f} s; the figures are in {FIGURES.relative_to(ROOT)}")
