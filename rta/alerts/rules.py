"""A rule: what is amiss, by a function of one look at everything, or by SQL over the serving database."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal, get_args

from rta.alerts.states import Found, Kind
from rta.errors import InputError, RtaError
from rta.metrics.observation import Observation
from rta.store.rows import rows

Condition = Callable[[Observation], Found] | str
"""A function of a look that returns subject → what is amiss with it; or one SELECT, of which each row is something amiss."""
Severity = Literal["critical", "warning", "info"]
_LONGEST: Final = 100  # characters of a name
SUBJECT: Final = "subject"
SAYS: Final = "says"


@dataclass(frozen=True)
class Rule:
    """When to raise an alert, and when to end it.

    Args:
        name: Its name.
        when: What is amiss: a function of a look (rta.metrics.Observation) that returns subject → what is amiss with it, in words, and
            None for what cannot be told now; or one SELECT over the serving database, of which each row is something amiss: its columns
            `subject` and `says` name it, or else all columns do.
        until: The other threshold of a hysteresis, in the same form: what it still finds keeps an alert firing, though it would not begin
            one. By default `when` itself.
        for_: Seconds for which it must be amiss without a break.
        keep_firing_for: Seconds for which it must be well without a break before it is resolved.
        severity: "critical", "warning" or "info".
        needs: The parts that must have answered for the rule to be asked: "kafka", "database", "spark". If one is away, its alerts
            stay as they are.

    Raises:
        InputError: If the name, a time or the severity is wrong.

    Example:
        >>> big = Rule("too many tables", lambda seen: {"": f"{len(seen.tables)} tables"} if len(seen.tables) > 10_000 else {}, for_=60)
        >>> big.name, big.for_
        ('too many tables', 60)
    """

    name: str
    when: Condition
    until: Condition | None = None
    for_: float = 0.0
    keep_firing_for: float = 0.0
    severity: Severity = "warning"
    needs: tuple[str, ...] = field(default=("database",))

    def __post_init__(self) -> None:
        """Raise InputError if something is wrong: a rule that cannot fire looks like one that has nothing to say."""
        if not isinstance(self.name, str) or not 0 < len(self.name) <= _LONGEST or not self.name.isprintable():  # fmt: skip
            raise InputError(
                "not a name for a rule", found=repr(self.name), fix="give a short text"
            )
        for name, seconds in (("for_", self.for_), ("keep_firing_for", self.keep_firing_for)):
            if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not seconds >= 0:  # fmt: skip
                raise InputError(f"{name} of rule {self.name!r} is no time", found=repr(seconds), fix="give seconds")  # fmt: skip
        if self.severity not in get_args(Severity):
            raise InputError(f"no severity of rule {self.name!r}", found=repr(self.severity), fix=f"choose from {', '.join(get_args(Severity))}")  # fmt: skip
        for condition in (self.when, self.until):
            if not (condition is None or callable(condition) or isinstance(condition, str)):
                raise InputError(f"rule {self.name!r} has no condition", found=type(condition).__name__, fix="give a function of a look, or one SELECT")  # fmt: skip

    @property
    def kind(self) -> Kind:
        """What its alerts have in common."""
        return Kind(self.name, self.severity, self.for_, self.keep_firing_for)

    def silenced_by(self, seen: Observation) -> list[str]:
        """Return the parts that it needs and that did not answer."""
        return [part for part in self.needs if not seen.up.get(part, False)]

    def found(self, seen: Observation) -> tuple[Found, Found]:
        """Return what is amiss, and what keeps an alert firing.

        Raises:
            RtaError: If its function raises, or returns something else; if the database refuses its SELECT.
        """
        amiss = self._asked(self.when, seen)
        return amiss, {} if self.until is None else self._asked(self.until, seen)

    def _asked(self, condition: Condition, seen: Observation) -> Found:
        if isinstance(condition, str):
            return dict(map(_named, rows(condition)))
        try:
            answer = condition(seen)
            return {str(subject): None if says is None else str(says) for subject, says in answer.items()}  # fmt: skip
        except RtaError:
            raise
        except Exception as error:
            raise InputError(
                f"rule {self.name!r} cannot be asked", found=f"{type(error).__name__}: {error}",
                fix="correct its function: it takes a look, and returns subject → what is amiss",
            ) from error  # fmt: skip


def _named(row: Mapping[str, Any]) -> tuple[str, str]:
    """Return the subject and the sentence of a row.

    >>> _named({"subject": "totals", "says": "too few"}), _named({"users": 3})
    (('totals', 'too few'), ('', 'users 3'))
    """
    others = {name: value for name, value in row.items() if name not in (SUBJECT, SAYS)}
    told = ", ".join(f"{name} {value}" for name, value in others.items())
    return str(row.get(SUBJECT) or ""), str(row.get(SAYS) or told)


def as_rules(rules: Any) -> list[Rule]:
    """Return rules as a list.

    Raises:
        InputError: If one is none, or two have one name.

    >>> as_rules([])
    []
    """
    found = list(rules)
    for each in found:
        if not isinstance(each, Rule):
            raise InputError("this is not a rule", found=type(each).__name__, fix="give rta.alerts.Rule(…), or a ready-made one")  # fmt: skip
    names = [each.name for each in found]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise InputError("two rules have one name", found=", ".join(twice), fix="name them differently: name=")  # fmt: skip
    return found
