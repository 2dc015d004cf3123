"""Show what passes a hop, one line per message. Pure."""

import copy
import json
import re
from datetime import datetime
from typing import Any

import click

from ops import times
from ops.status.verdict import duration
from ops.tables import printable
from ops.tap.messages import Tapped

_MOST_CHARACTERS = 600
_STEP = re.compile(r"\.([^.\[\]]+)|\[(\d+)\]")
_MARK = "\ue000"  # replaced before anything is printed


def record(tapped: Tapped, now: datetime) -> dict[str, Any]:
    """It for ``--format json``."""
    return {
        "hop": tapped.hop,
        "via": tapped.via,
        "time": None if tapped.time is None else times.milliseconds(tapped.time),
        "age_seconds": _age(tapped, now),
        "thing_name": tapped.thing_name,
        "customer": tapped.customer,
        "topic": tapped.topic,
        "payload": times.shown(tapped.payload),
        "error": tapped.error,
        "text": tapped.text,
        "faults": [
            {"reading_index": one.reading_index, "reason": one.reason, "path": one.path}
            for one in tapped.faults
        ],
        "raw_key": tapped.raw_key,
        "raw_line": tapped.raw_line,
    }


def line(tapped: Tapped, now: datetime) -> str:
    """It as one line for people: the bad field is between ``>>>`` and ``<<<``, and in red."""
    age = _age(tapped, now)
    old = "" if age is None else f", {duration(age)} old"
    when = "time unknown" if tapped.time is None else times.milliseconds(tapped.time)
    who = tapped.thing_name or "thing unknown"
    if tapped.customer:
        who += f"/{tapped.customer}"
    head = f"{when}  {who}  ({tapped.hop} via {tapped.via}{old})  "
    body = f"{tapped.error}: {tapped.text}" if tapped.error else _payload(tapped)
    text = printable(head) + _cut(printable(body))
    for fault in tapped.faults[:1]:
        where = f" at {fault.path}" if fault.path else ""
        text += click.style(f"  ! {printable(fault.reason + where)}", fg="red")
    if len(tapped.faults) > 1:
        text += click.style(f", and {len(tapped.faults) - 1:,} more", fg="red")
    return (
        text.replace(">>>", "\x1b[31m>>>").replace("<<<", "<<<\x1b[0m") if _marked(text) else text
    )


def _marked(text: str) -> bool:
    return text.count(">>>") == text.count("<<<") == 1


def _payload(tapped: Tapped) -> str:
    """The payload, or the first bad reading of it, or else the first one."""
    payload, count = times.shown(tapped.payload), ""
    fault = tapped.faults[0] if tapped.faults else None
    if isinstance(payload, list) and payload:
        index = fault.reading_index if fault and fault.reading_index is not None else 0
        index = index if index < len(payload) else 0
        count = f"[reading {index} of {len(payload):,}] " if len(payload) > 1 else ""
        payload = payload[index]
    text = json.dumps(
        _with_mark(payload, fault.path) if fault and fault.path else payload, ensure_ascii=False
    )
    opens, closes = f'"{_MARK}', f'{_MARK}"'
    if opens in text and closes in text:
        before, _, rest = text.partition(opens)
        marked, _, after = rest.rpartition(closes)
        text = f"{before}>>>{json.loads(f'{chr(34)}{marked}{chr(34)}')}<<<{after}"
    return count + text


def _with_mark(payload: Any, path: str) -> Any:
    """The payload with the value at ``path`` between marks; as it is if there is none."""
    steps = [name if name else int(index) for name, index in _STEP.findall(path)]
    if not steps or _MARK in json.dumps(payload, ensure_ascii=False):
        return payload
    payload = copy.deepcopy(payload)
    target = payload
    try:
        for step in steps[:-1]:
            target = target[step]
        value = json.dumps(target[steps[-1]], ensure_ascii=False)
        target[steps[-1]] = f"{_MARK}{value}{_MARK}"
    except (LookupError, TypeError):
        pass
    return payload


def _cut(text: str) -> str:
    if len(text) <= _MOST_CHARACTERS:
        return text
    return f"{text[:_MOST_CHARACTERS]}… of {len(text):,} characters"


def _age(tapped: Tapped, now: datetime) -> float | None:
    return None if tapped.time is None else round((now - tapped.time).total_seconds(), 3)
