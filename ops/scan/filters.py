"""Which partitions of the tables a SQL statement reads. Pure: no AWS.

A library reads the SQL (sqlglot, in Trino's dialect, which is Athena's), and this module applies
the filters of WHERE and ON to a partition's values. A filter that it cannot judge lets every
partition pass, so what is found is at least what Athena reads.
"""

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import sqlglot
from sqlglot import exp
from sqlglot.errors import SqlglotError

# The values of a partition's columns; a column that is missing is not known.
Values = Mapping[str, str]

_COMPARED: dict[type[exp.Expr], Callable[[int], bool]] = {
    exp.EQ: lambda order: order == 0,
    exp.NEQ: lambda order: order != 0,
    exp.GT: lambda order: order > 0,
    exp.GTE: lambda order: order >= 0,
    exp.LT: lambda order: order < 0,
    exp.LTE: lambda order: order <= 0,
}

# Before and after every value that a partition can have.
_EXTREMES = ("", "\U0010ffff")


class NotUnderstoodError(ValueError):
    """The SQL cannot be read here. Athena may understand it."""


@dataclass(frozen=True, slots=True)
class Reference:
    """One place where a statement reads a table.

    Attributes:
        table: Name of the table, in lower case.
        names: How the statement calls it.
        filters: Conditions that all have to hold.
    """

    table: str
    names: frozenset[str]
    filters: tuple[exp.Expr, ...]

    def may_read(self, values: Values) -> bool:
        """Whether the statement may read the partition with these values."""
        return all(self._judge(one, values) is not False for one in self.filters)

    def limits(self, column: str) -> bool:
        """Whether some values of ``column`` are certainly not read."""
        return any(
            self._judge(one, {column: extreme}) is False
            for one in self.filters
            for extreme in _EXTREMES
        )

    def mentions(self, column: str) -> bool:
        """Whether a filter names ``column``, understood or not."""
        return any(
            self._column(found) == column
            for one in self.filters
            for found in one.find_all(exp.Column)
        )

    def _column(self, node: exp.Expr | None) -> str | None:
        if not isinstance(node, exp.Column):
            return None
        of = node.table.lower()
        return node.name.lower() if not of or of in self.names else None

    def _judge(self, node: exp.Expr | None, values: Values) -> bool | None:
        """Whether a condition holds; None if that is not known."""
        match node:
            case exp.Paren():
                return self._judge(node.this, values)
            case exp.Not():
                inner = self._judge(node.this, values)
                return None if inner is None else not inner
            case exp.And() | exp.Or():
                decisive = isinstance(node, exp.Or)
                sides = [self._judge(side, values) for side in (node.left, node.right)]
                if decisive in sides:
                    return decisive
                return None if None in sides else not decisive
            case exp.Between():
                return self._all(
                    self._compare(exp.GTE, node.this, node.args["low"], values),
                    self._compare(exp.LTE, node.this, node.args["high"], values),
                )
            case exp.In(expressions=[_, *_]):
                found = [self._compare(exp.EQ, node.this, one, values) for one in node.expressions]
                return True if True in found else None if None in found else False
            case exp.Binary() if type(node) in _COMPARED:
                return self._compare(type(node), node.left, node.right, values)
        return None

    @staticmethod
    def _all(*sides: bool | None) -> bool | None:
        return False if False in sides else None if None in sides else True

    def _compare(
        self,
        kind: type[exp.Expr],
        left: exp.Expr,
        right: exp.Expr,
        values: Values,
    ) -> bool | None:
        one, other = self._value(left, right, values), self._value(right, left, values)
        if one is None or other is None or type(one) is not type(other):
            return None
        return _COMPARED[kind]((one > other) - (one < other))  # type: ignore[operator]  # same type

    def _value(self, node: exp.Expr, beside: exp.Expr, values: Values) -> str | int | None:
        """The value of a literal, or of a partition's column in the type of the other side."""
        if isinstance(node, exp.Literal):
            if node.is_string:
                return str(node.this)
            return int(node.this) if str(node.this).isdecimal() else None
        value = values.get(self._column(node) or "")
        if value is None or not isinstance(beside, exp.Literal) or beside.is_string:
            return value
        return int(value) if value.isdecimal() else None


def references(sql: str, database: str) -> list[Reference]:
    """Every place where ``sql`` reads a table of ``database``.

    Raises:
        NotUnderstoodError: It is not one statement that selects.
    """
    # It would warn on stderr of statements that it does not know.
    logging.getLogger("sqlglot").setLevel(logging.ERROR)
    try:
        statements = [one for one in sqlglot.parse(sql, dialect="trino") if one is not None]
    except (SqlglotError, RecursionError) as error:
        raise NotUnderstoodError("the SQL cannot be read") from error
    if len(statements) != 1 or statements[0].find(exp.Command):
        raise NotUnderstoodError("the SQL is not a SELECT")
    try:
        return list(_references(statements[0], database))
    except RecursionError as error:
        raise NotUnderstoodError("the SQL is nested too deeply") from error


def _references(statement: exp.Expr, database: str) -> Iterator[Reference]:
    common = {one.alias.lower() for one in statement.find_all(exp.CTE)}
    for table in statement.find_all(exp.Table):
        name = table.name.lower()
        is_read = isinstance(table.parent, exp.From | exp.Join)
        if not is_read or not name or table.db.lower() not in {"", database.lower()}:
            continue
        inside = table.find_ancestor(exp.CTE)
        # In WITH telemetry AS (SELECT … FROM telemetry), the inner one is the table.
        if name in common and not table.db and not (inside and inside.alias.lower() == name):
            continue
        names = frozenset({name, table.alias.lower()} - {""})
        yield Reference(name, names, tuple(_filters(table)))


def _filters(table: exp.Table) -> Iterator[exp.Expr]:
    """What must hold of each row of ``table`` that is read: parts of WHERE, and of its own ON."""
    if isinstance(table.parent, exp.Join) and table.parent.side.upper() not in {"RIGHT", "FULL"}:
        yield from _parts(table.parent.args.get("on"))
    select = table.find_ancestor(exp.Select)
    where = select.args.get("where") if select else None
    if where is not None:
        yield from _parts(where.this)


def _parts(condition: exp.Expr | None) -> Sequence[exp.Expr]:
    if condition is None:
        return []
    unnested = condition.unnest()
    if isinstance(unnested, exp.And):
        return [*_parts(unnested.left), *_parts(unnested.right)]
    return [unnested]
