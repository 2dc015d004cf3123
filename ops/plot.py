"""Draw a column of an answer over time, for a terminal.

plotille draws with braille dots, two by four in a character; it needs no other package. A library
that also writes PNG files (matplotlib) would bring numpy and some 100 MB: for a picture, write
``--format csv`` to a file and open it in any program that draws.
"""

import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import groupby
from typing import Any

import plotille

from device import cli
from ops.athena import Answer
from ops.tables import printable

# More lines than this in one picture cannot be told apart.
MOST_SERIES = 6
_COLORS = ("cyan", "yellow", "green", "magenta", "red", "blue")

_Point = tuple[datetime, float]


class PlotError(ValueError):
    """The answer has nothing to draw; the message says what is missing."""


@dataclass(frozen=True, slots=True)
class Plot:
    """A picture, and what it shows.

    Attributes:
        text: Lines for a terminal.
        points: Values that are drawn.
        left_out: Rows without a time or a number.
        series_left_out: Things beyond ``MOST_SERIES``.
    """

    text: str
    points: int
    left_out: int
    series_left_out: int


def plot(answer: Answer, field: str, *, width: int, height: int, in_colors: bool) -> Plot:
    """Draw the numbers of ``field`` over time, with a line for each thing.

    The time is the first column that is a timestamp, or else ``day``, or ``dt`` and ``hour``.

    Args:
        answer: One row per point, in any order.
        field: Name of a column of numbers.
        width: Of the terminal, in characters.
        height: Of the picture, in lines.
        in_colors: Whether the terminal shows colours.

    Raises:
        PlotError: There is no such column, no time, or no value.
    """
    numbers = [column.name for column in answer.columns if column.is_number]
    if field not in numbers:
        listed = ", ".join(numbers) or "none"
        raise PlotError(f"expected a column of numbers of the answer ({listed}), got {field!r}")
    time_columns = _time_columns(answer)
    series: dict[str, list[_Point]] = defaultdict(list)
    left_out = 0
    for record in answer.records():
        moment, value = _moment([record[name] for name in time_columns]), record[field]
        if moment is None or not isinstance(value, int | float) or not math.isfinite(value):
            left_out += 1
            continue
        series[_name(record)].append((moment, float(value)))
    if not series:
        raise PlotError(f"expected rows with a time and a number in {field!r}, got none")
    largest = sorted(series, key=lambda name: (-len(series[name]), name))
    shown = {name: sorted(series[name]) for name in sorted(largest[:MOST_SERIES])}
    text = _draw(shown, field, width=width, height=height, in_colors=in_colors)
    points = sum(map(len, shown.values()))
    return Plot(text, points, left_out, len(series) - len(shown))


def _time_columns(answer: Answer) -> list[str]:
    names = [column.name for column in answer.columns]
    stamps = [column.name for column in answer.columns if column.type.startswith("timestamp")]
    if stamps:
        return stamps[:1]
    for columns in (["dt", "hour"], ["dt"], ["day"]):
        if set(columns) <= set(names):
            return columns
    raise PlotError(
        f"expected a column with a time (a timestamp, day, or dt and hour), got {', '.join(names)}"
    )


def _moment(values: Sequence[Any]) -> datetime | None:
    """The time of a row, in UTC; None if there is none."""
    day, *hours = map(str, values)
    try:
        moment = datetime.fromisoformat(day.removesuffix(" UTC"))
        if hours:
            moment = moment.replace(hour=int(hours[0]))
        return moment.replace(tzinfo=moment.tzinfo or UTC).astimezone(UTC)
    except (ValueError, OverflowError):
        return None


def _name(record: dict[str, Any]) -> str:
    thing, customer = record.get("thing_name"), record.get("customer")
    return printable(".".join(str(part) for part in (thing, customer) if part is not None))


def _draw(
    series: dict[str, list[_Point]], field: str, *, width: int, height: int, in_colors: bool
) -> str:
    figure = plotille.Figure()
    # Beside the canvas are the values, 12 characters wide, and room for the last time.
    figure.width, figure.height = max(20, width - 24), max(4, height)
    figure.with_colors = in_colors
    figure.color_mode = "names"
    figure.x_label, figure.y_label = "UTC", _short(printable(field))
    first = min(points[0][0] for points in series.values())
    last = max(points[-1][0] for points in series.values())
    span = last - first
    _set_limits(figure, first, last, [v for points in series.values() for _, v in points])
    form = _time_format(span)
    figure.register_label_formatter(
        datetime, lambda val, chars, **_: f"{val:{form}}"[:chars].ljust(chars)
    )
    figure.register_label_formatter(float, lambda val, chars, **_: f"{val:{chars}.5g}")
    marks = zip(series.items(), _COLORS, strict=False)
    for number, ((name, points), color) in enumerate(marks, start=1):
        xs, ys = zip(*_thinned(points, first, span, 2 * figure.width), strict=True)
        if in_colors or len(series) == 1:
            figure.plot(xs, ys, lc=color if in_colors else None, label=name)
        else:  # only numbers tell the lines apart
            figure.plot(xs, ys, interp=None, marker=str(number), label=name)
    several = len(series) > 1
    picture = str(figure.show(legend=several))
    what = [printable(field), *(name for name in series if name and not several)]
    until = f"{cli.utc(first)} to {cli.utc(last)}"
    return "\n".join(
        line.rstrip() for line in f"{picture}\n{', '.join([*what, until])}".splitlines()
    )


def _short(text: str) -> str:
    return text if len(text) <= 9 else f"{text[:8]}…"


def _set_limits(
    figure: plotille.Figure, first: datetime, last: datetime, values: Sequence[float]
) -> None:
    lowest, highest = min(values), max(values)
    # Halves: the difference of the two largest numbers is infinite.
    if not math.isfinite(margin := (highest / 2 - lowest / 2) / 10) or margin > 1e300:
        raise PlotError("the values are too far apart to draw")
    margin = margin or abs(highest) / 10 or 1.0
    figure.set_y_limits(min_=lowest - margin, max_=highest + margin)
    try:
        around = timedelta(0) if last > first else timedelta(minutes=30)
        figure.set_x_limits(min_=first - around, max_=last + around)
    except OverflowError:
        raise PlotError("the times are too early or too late to draw") from None


def _time_format(span: timedelta) -> str:
    if span <= timedelta(days=1):
        return "%H:%M:%S"
    return "%m-%d %Hh" if span <= timedelta(days=60) else "%Y-%m"


def _thinned(
    points: Sequence[_Point], first: datetime, span: timedelta, columns: int
) -> Sequence[_Point]:
    """Keep the lowest and the highest value of each column of dots: more cannot be seen."""
    if len(points) <= 2 * columns or not span:
        return points
    kept: list[_Point] = []
    for _, group in groupby(points, key=lambda point: int((point[0] - first) / span * columns)):
        inside = list(group)
        ends = (min(inside, key=lambda p: p[1]), max(inside, key=lambda p: p[1]))
        kept += sorted(set(ends))
    return kept
