"""Progress on stderr: a live bar for a person, now and then a plain line for a log."""

import sys
import time
from types import TracebackType
from typing import Self

from rich import progress as rich_progress
from rich.console import Console

_PLAIN_INTERVAL_SECONDS = 10.0


class Progress:
    """How far a command has come; a context manager.

    Args:
        total: How many steps there will be; None: nobody knows.
    """

    def __init__(self, total: int | None) -> None:
        self._console = Console(stderr=True, highlight=False, markup=False)
        self._bar: rich_progress.Progress | None = None
        if sys.stderr.isatty():
            self._bar = rich_progress.Progress(
                rich_progress.BarColumn(),
                rich_progress.TaskProgressColumn(show_speed=True),
                rich_progress.TimeElapsedColumn(),
                rich_progress.TextColumn("{task.description}", markup=False),
                console=self._console,
                transient=True,
            )
            self._task = self._bar.add_task("", total=total)
        self._next_line = time.monotonic() + _PLAIN_INTERVAL_SECONDS

    def __enter__(self) -> Self:
        if self._bar is not None:
            self._bar.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._bar is not None:
            self._bar.stop()

    def show(self, done: int, text: str) -> None:
        """``done`` steps are done, and ``text`` says it in words."""
        if self._bar is not None:
            self._bar.update(self._task, completed=done, description=text)
        elif time.monotonic() >= self._next_line:
            self._next_line = time.monotonic() + _PLAIN_INTERVAL_SECONDS
            self.say(text)

    def say(self, line: str) -> None:
        """Print a line that stays."""
        if self._bar is not None:
            self._console.print(line, soft_wrap=True)
        else:
            print(line, file=sys.stderr, flush=True)  # to wherever stderr is now
