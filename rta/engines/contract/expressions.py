"""Expressions of a description: columns, literals, casts and calls, with the type that Spark gives each. No engine is known here."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

# name in the description → Spark's own class of the expression
COMPARISONS: Final = {
    "=": "EqualTo", "<": "LessThan", "<=": "LessThanOrEqual", ">": "GreaterThan", ">=": "GreaterThanOrEqual",
}  # fmt: skip
LOGIC: Final = {"and": "And", "or": "Or", "not": "Not"}
NULLS: Final = {"isnull": "IsNull", "isnotnull": "IsNotNull"}
ARITHMETIC: Final = {"+": "Add", "-": "Subtract", "*": "Multiply"}
CHOICES: Final = {"case": "CaseWhen", "coalesce": "Coalesce", "if": "If"}
MEMBERSHIP: Final = {"in": "In"}
TEXT: Final = {
    "startswith": "StartsWith", "endswith": "EndsWith", "contains": "Contains", "concat": "Concat", "length": "Length", "trim": "StringTrim",
}  # fmt: skip
OPERATORS: Final = COMPARISONS | LOGIC | NULLS | ARITHMETIC | CHOICES | MEMBERSHIP | TEXT


@dataclass(frozen=True)
class Column:
    """A column of the rows that come in, by name; or what is inside a struct, under a name of its own: `device.os`."""

    name: str
    type: str
    path: tuple[str, ...] = ()

    def as_json(self) -> dict[str, Any]:
        """Return it as an engine's program reads it."""
        return {"col": self.name, "type": self.type}


@dataclass(frozen=True)
class Literal:
    """A constant, as Spark writes it as text; None is SQL's NULL."""

    value: str | None
    type: str

    def as_json(self) -> dict[str, Any]:
        """Return it as an engine's program reads it."""
        return {"lit": self.value, "type": self.type}


@dataclass(frozen=True)
class Cast:
    """A value in another type."""

    of: Expression
    type: str

    def as_json(self) -> dict[str, Any]:
        """Return it as an engine's program reads it."""
        return {"cast": self.of.as_json(), "type": self.type}


@dataclass(frozen=True)
class Call:
    """An operator over its arguments; `case` has condition, value, condition, value, …, and at the end what else holds."""

    operator: str
    of: tuple[Expression, ...]
    type: str

    def as_json(self) -> dict[str, Any]:
        """Return it as an engine's program reads it."""
        return {"op": self.operator, "of": [each.as_json() for each in self.of], "type": self.type}


Expression = Column | Literal | Cast | Call


def inside(expression: Expression) -> Iterator[Expression]:
    """Yield an expression and all that is inside it.

    >>> [each.type for each in inside(Cast(Column("amount", "decimal(12,2)"), "double"))]
    ['double', 'decimal(12,2)']
    """
    yield expression
    if isinstance(expression, Cast):
        yield from inside(expression.of)
    if isinstance(expression, Call):
        for each in expression.of:
            yield from inside(each)
