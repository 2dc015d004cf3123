"""Recognize SQL statements that only read, and refuse all others.

This protects against mistakes, not against attacks: the credentials decide what is possible.

A SQL parser was considered (sqlglot, with its Athena dialect). It returns SHOW, EXPLAIN, EXPLAIN
ANALYZE INSERT, UNLOAD and OPTIMIZE all as an opaque "Command", so we would still have to inspect
the words. Only verbs that are known to read pass; any other statement is refused.
"""

import re
from collections.abc import Iterator, Sequence
from itertools import dropwhile

READS = ("SELECT", "WITH", "VALUES", "TABLE", "SHOW", "DESCRIBE", "DESC", "EXPLAIN")

# What can follow the common table expressions of WITH.
_AFTER_WITH = {"SELECT", "VALUES", "TABLE", "INSERT", "UPDATE", "DELETE", "MERGE", "CREATE", "FROM"}

_TOKEN = re.compile(
    r"""(?P<skipped> \s+ | --[^\r\n]* | /\*.*?\*/ )
      | (?P<quoted> '(?:[^']|'')*' | "(?:[^"]|"")*" | `(?:[^`]|``)*` )
      | (?P<word> \w+ )
      | (?P<sign> . )""",
    re.VERBOSE | re.DOTALL,
)


def write_in(sql: str) -> str | None:
    """The verb of ``sql`` that may change something; None if ``sql`` only reads.

    Athena runs one statement per query. Several statements do not count as reading.
    """
    statements = list(_statements(sql))
    if len(statements) != 1:
        return f"{len(statements)} statements" if statements else "nothing"
    verb = _verb(statements[0])
    return None if verb in READS else verb


def reads_no_data(sql: str) -> bool:
    """Whether ``sql`` only shows what the catalog has, or a plan; Athena charges nothing for it."""
    words = next(_statements(sql), [""])
    return words[0] in {"SHOW", "DESCRIBE", "DESC"} or (
        words[0] == "EXPLAIN" and words[1:2] != ["ANALYZE"]
    )


def _statements(sql: str) -> Iterator[list[str]]:
    """The parts of each statement: upper-case words, signs, and "''" for what is quoted."""
    parts: list[str] = []
    for found in _TOKEN.finditer(sql):
        if found.lastgroup == "skipped":
            continue
        part = "''" if found.lastgroup == "quoted" else found[0].upper()
        if part != ";":
            parts.append(part)
        elif parts:
            yield parts
            parts = []
    if parts:
        yield parts


def _verb(parts: Sequence[str]) -> str:
    """The verb of the statement."""
    words = [*dropwhile(lambda part: part in "()", parts)]
    if not words:
        return "nothing"
    if words[:2] == ["EXPLAIN", "ANALYZE"]:  # it runs the statement
        return _verb(words[3:] if words[2:3] == ["VERBOSE"] else words[2:])
    return _verb_after_with(words) if words[0] == "WITH" else words[0]


def _verb_after_with(words: Sequence[str]) -> str:
    depth = 0
    for at, word in enumerate(words):
        if depth == 0 and word in _AFTER_WITH:
            return word
        if depth == 0 and word == "(" and words[at - 1] == ")":  # WITH a AS (…) (SELECT …)
            return _verb(words[at:])
        depth += (word == "(") - (word == ")")
    return "WITH without SELECT"
