"""``venvoy token``: who may use the build service."""

from __future__ import annotations

import contextlib
import json
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import click

from manifests.errors import InvalidInput
from service.commands.options import state_option

_SCOPES = ("read", "build", "publish")


@click.command("token")
@click.argument("name", required=False)
@state_option
@click.option(
    "--scope",
    "scopes",
    multiple=True,
    type=click.Choice(_SCOPES),
    help="What it is good for; may be repeated. [default: read, build]",
)
@click.option(
    "--days",
    type=click.FloatRange(min=0, min_open=True),
    metavar="DAYS",
    help="How long it is good. [default: for ever]",
)
@click.option("--revoke", is_flag=True, help="Make the token worthless, at once.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
def command(
    *, name: str | None, state: Path, scopes: tuple[str, ...], days: float | None, revoke: bool, as_json: bool
) -> None:
    """Make a token NAME for the build service and print it; or list those that there are.

    It is shown this once: the service keeps a digest alone. Scopes: 'read' (builds, logs, the store),
    'build' (submit, cancel, retry), 'publish' (have builds published). The service may be running.

    \b
    Examples:
      venvoy token ci --scope read --scope build --scope publish > /etc/ci/venvoy-token
      venvoy token dashboard --scope read --days 365
      venvoy token
      venvoy token ci --revoke
    """
    from service.settings import database_path
    from service.state.database import Database
    from service.state.tokens import Scope, Tokens

    if name is None and (scopes or days is not None or revoke):
        raise InvalidInput("name the token that is meant")
    if revoke and (scopes or days is not None):
        raise InvalidInput("--revoke goes with no other option")
    with contextlib.closing(Database(database_path(state))) as database:
        tokens = Tokens(database)
        if name is None:
            found = [_value(token.name, token.scopes, token.expires_at) for token in tokens.list()]
            _report({"tokens": found}, [_line(value) for value in found], as_json=as_json)
        elif revoke:
            tokens.revoke(name)
            _report({"revoked": name}, [f"revoked {name}"], as_json=as_json)
        else:
            secret = tokens.add(name, [Scope(scope) for scope in scopes or _SCOPES[:2]], days=days)
            _report({"name": name, "token": secret}, [secret], as_json=as_json)


def _value(name: str, scopes: Any, expires_at: float | None) -> dict[str, Any]:
    expires = None if expires_at is None else datetime.fromtimestamp(expires_at, timezone.utc).isoformat()
    return {"name": name, "scopes": sorted(scope.value for scope in scopes), "expires": expires}


def _line(value: dict[str, Any]) -> str:
    until = f", until {value['expires'][:10]}" if value["expires"] else ""
    return f"{value['name']}: {', '.join(value['scopes'])}{until}"


def _report(document: dict[str, Any], lines: list[str], *, as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps(document, indent=2, sort_keys=True))
    else:
        for line in lines:
            click.echo(line)
