"""The command `rta alerts`: what is amiss, and a watch that says it."""

from __future__ import annotations

import logging
import runpy
from pathlib import Path
from typing import Any

import click

from rta.cli.printing import AS_JSON, print_rows
from rta.errors import InputError

_COLUMNS = ("state", "rule", "subject", "severity", "says", "starts_at", "ended_at")
_FIRING = 4  # exit code


@click.command()
@click.argument("rules", type=click.Path(path_type=Path), required=False, metavar="[RULES.py]")
@click.option("--watch", "watches", is_flag=True, help="Watch with the usual rules; with RULES.py by those in the file.")  # fmt: skip
@click.option("--every", default=5.0, show_default=True, help="Seconds from one look to the next.")
@click.option("--remind", type=float, help="Say again after so many seconds what still fires; by default never.")  # fmt: skip
@click.option("--name", default="alerts", show_default=True, help="The name of the watch; one of a name runs at a time.")  # fmt: skip
@click.option("--state", type=click.Choice(["pending", "firing", "resolved"]), help="List only those.")  # fmt: skip
@AS_JSON
@click.pass_context
def alerts(
    ctx: click.Context, rules: Path | None, *, watches: bool, every: float, remind: float | None, name: str, state: str | None,
    as_json: bool,
) -> None:  # fmt: skip
    """List what is amiss, or was; with RULES.py or --watch, watch until Ctrl-C, and say it.

    RULES.py is Python: it assigns `rules`, a list of rta.alerts.Rule, and `channels`, where they are said; one of them may be left out.
    The list exits with 4 if something fires.
    """
    if rules is None and not watches:
        from rta.alerts.table import alerts as listed

        found = [vars(each) for each in listed(state=state)]
        print_rows(found, _COLUMNS, as_json=as_json)
        ctx.exit(_FIRING if any(each["state"] == "firing" for each in found) else 0)
    from rta.alerts.watching import Watch

    given = _read(rules) if rules else {}
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    with _watch(Watch, given, every=every, remind=remind, name=name) as watching:
        click.echo(f"{watching}; Ctrl-C ends it")
        watching.run()


def _watch(kind: Any, given: dict[str, Any], **how: Any) -> Any:
    from rta.alerts.channels import Log
    from rta.alerts.ready_made import usual

    return kind(given.get("rules") or usual(), given.get("channels") or [Log()], **how)


def _read(path: Path) -> dict[str, Any]:
    """Run the file; return what it assigns."""
    if not path.is_file():
        raise InputError("there is no such file of rules", found=path, fix="check the path")
    given = runpy.run_path(str(path))
    if "rules" not in given and "channels" not in given:
        raise InputError("the file assigns neither `rules` nor `channels`", found=path, fix="assign one: rules = [rta.alerts.lag(over=30)]")  # fmt: skip
    return given
