"""The command `rta dashboard`: a notebook as a live page for people without Jupyter."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import click

from rta.cli.printing import AS_JSON, LOOPBACK, print_rows
from rta.errors import InputError


@click.command()
@click.argument("notebook", type=click.Path(path_type=Path), required=False)
@click.option("-p", "--parameter", "pairs", multiple=True, metavar="NAME=VALUE", help="Set a parameter; may be repeated.")  # fmt: skip
@click.option("--name", help="The dashboard's name; by default the notebook's.")
@click.option("--host", default="127.0.0.1", show_default=True, help="The address to listen on. Another than loopback's lets others in who have the link, unencrypted.")  # fmt: skip
@click.option("--port", type=click.IntRange(1, 65535), help="The port; by default that of the last time, or a free one.")  # fmt: skip
@click.option("--served-as", "names", multiple=True, metavar="NAME", help="A name under which a proxy serves it; may be repeated.")  # fmt: skip
@click.option("--new-token", is_flag=True, help="Make a new token: links of before are void.")
@click.option("--list", "lists", is_flag=True, help="List the dashboards that run.")
@click.option("--link", metavar="NAME", help="Print the link of a dashboard, with its token.")
@click.option("--stop", metavar="NAME", help="Stop a dashboard, its queries and its kernel.")
@click.option("--systemd", is_flag=True, help="Print a systemd user unit that runs this command.")
@AS_JSON
def dashboard(
    notebook: Path | None, *, pairs: Sequence[str], name: str | None, host: str, port: int | None, names: Sequence[str],
    new_token: bool, lists: bool, link: str | None, stop: str | None, systemd: bool, as_json: bool,
) -> None:  # fmt: skip
    """Serve a notebook as a live page: one kernel, many viewers, read only. Ctrl-C stops it and what it started."""
    from rta.dashboards import entries
    from rta.dashboards.systemd import unit
    from rta.jobs import runner

    if lists:
        rows = [{**vars(each), "pid": str(each.pid)} for each in entries.running()]
        print_rows(rows, ("name", "address", "notebook", "pid", "since"), as_json=as_json)
    elif link is not None:
        click.echo(entries.link(link))
    elif stop is not None:
        entries.stop(stop)
        click.echo(f"dashboard {stop} stopped")
    elif notebook is None:
        raise InputError("no notebook is named", fix="rta dashboard NOTEBOOK, or --list, --link NAME, --stop NAME")  # fmt: skip
    elif systemd:
        runner.parse(notebook, pairs)
        options = [word for pair in pairs for word in ("--parameter", pair)]
        options += [word for each in names for word in ("--served-as", each)]
        given = {"--name": name, "--host": host if host not in LOOPBACK else None, "--port": port}
        options += [word for option, value in given.items() if value for word in (option, str(value))]  # fmt: skip
        click.echo(unit(notebook, options), nl=False)
    else:
        _serve(notebook, pairs, name=name, host=host, port=port, names=names, new_token=new_token)


def _serve(notebook: Path, pairs: Sequence[str], **how: object) -> None:
    from rta.dashboards.serving import serve
    from rta.jobs import runner

    called = how["name"] or notebook.stem

    def ready(address: str, link: str) -> None:
        # Only a person sees the token: the output of a service is a log.
        shown = link if sys.stdout.isatty() else f"{address} (rta dashboard --link {called} prints its link with the token)"  # fmt: skip
        click.echo(f"dashboard {called}: {shown}")
        if how["host"] not in LOOPBACK:
            click.secho("others on this network may look if they have the link; the connection is not encrypted: put a proxy with TLS before it", fg="yellow", err=True)  # fmt: skip
        if sys.stdout.isatty():
            click.echo("Ctrl-C stops it")

    serve(notebook, runner.parse(notebook, pairs), ready=ready, **how)  # type: ignore[arg-type]
    click.echo(f"dashboard {called} stopped")
