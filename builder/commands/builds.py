"""``venvoy builds``: what a build service does, seen and steered from here."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from builder.commands.options import FOLDER, json_option
from builder.commands.service_options import leave, remote_option, see_through, token_file_option
from manifests.console import Console, printable

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from builder.remote.connection import Connection

_BUILDS = "/api/v1/builds"
_STATES = ("queued", "building", "publishing", "built", "published", "failed", "cancelled")
_PAGE = 200
_build_argument = click.argument("build", metavar="BUILD")
_service_option = remote_option("The build service at URL; needless where BUILD is an address.")


@click.group("builds")
def command() -> None:
    """See and steer the builds of a build service ('venvoy serve').

    BUILD is an id, as 'list' prints it, of the service named with --remote; or the build's address, as
    'venvoy build --remote' prints it. The token's scope is to be 'read' for looking, 'build' for cancel and
    retry, 'publish' for forward.

    \b
    Examples:
      venvoy builds list --remote https://builds.example --state failed
      venvoy builds watch https://builds.example/builds/0123456789abcdef0123456789abcdef
      venvoy builds cancel 0123456789abcdef0123456789abcdef --remote https://builds.example
      venvoy builds forward 2026.1.0.json --remote https://builds.example
    """


@command.command("list")
@remote_option("The build service at URL.")
@token_file_option
@click.option("--state", type=click.Choice(_STATES), help="Only those in this state.")
@click.option("--release", metavar="NAME", help="Only those of this release.")
@click.option(
    "--limit", type=click.IntRange(1, 10_000), default=20, show_default=True, help="How many at most."
)
@json_option
def list_(
    *,
    remote: str | None,
    token_file: Path | None,
    state: str | None,
    release: str | None,
    limit: int,
    as_json: bool,
) -> None:
    """List builds, newest first.

    \b
    Examples:
      venvoy builds list --remote https://builds.example
      venvoy builds list --state failed --limit 100 --json
    """
    from builder.remote.naming import named_service

    with _connected(named_service(remote), token_file) as connection:
        found = _pages(connection, limit, state=state, release=release)
    if as_json:
        click.echo(json.dumps({"builds": found}, indent=2))
        return
    for build in found:
        click.echo(_row(build))


@command.command("show")
@_build_argument
@_service_option
@token_file_option
@json_option
def show(*, build: str, remote: str | None, token_file: Path | None, as_json: bool) -> None:
    """Show a build: how it is, who asked for it, what came of it.

    \b
    Examples:
      venvoy builds show https://builds.example/builds/0123456789abcdef0123456789abcdef
      venvoy builds show 0123456789abcdef0123456789abcdef --remote https://builds.example --json
    """
    with _found(build, remote, token_file) as (connection, build_id):
        _print(connection.json("GET", f"{_BUILDS}/{build_id}"), as_json=as_json)


@command.command("watch")
@_build_argument
@_service_option
@token_file_option
@click.option(
    "--output", "-o", type=FOLDER, help="Bring what was built into this folder. [default: leave it there]"
)
@json_option
@click.pass_context
def watch(
    context: click.Context,
    *,
    build: str,
    remote: str | None,
    token_file: Path | None,
    output: Path | None,
    as_json: bool,
) -> None:
    """Follow a build, log and all, and end as it ends.

    The exit code is that of a build on this machine. Ctrl-C leaves the build running. Of a finished build the
    log is shown once more.

    \b
    Examples:
      venvoy builds watch https://builds.example/builds/0123456789abcdef0123456789abcdef -o build
    """
    console = Console(quiet=as_json)
    with _found(build, remote, token_file) as (connection, build_id):
        try:
            see_through(connection, build_id, console, output, as_json=as_json)
        except KeyboardInterrupt:
            console.done()
            leave(context, connection.url, build_id, token_file, as_json=as_json)


@command.command("cancel")
@_build_argument
@_service_option
@token_file_option
@json_option
def cancel(*, build: str, remote: str | None, token_file: Path | None, as_json: bool) -> None:
    """Cancel a build, for all who asked for it. One at work ends within seconds.

    Ends with 9 where it is finished already.

    \b
    Examples:
      venvoy builds cancel 0123456789abcdef0123456789abcdef --remote https://builds.example
    """
    after, build_id, _ = _order("cancel", build, remote, token_file)
    if as_json:
        click.echo(json.dumps(after, indent=2))
        return
    what = "was cancelled" if after["state"] == "cancelled" else "ends within seconds"
    click.echo(f"{build_id}: release {printable(after['release'])} {what}")


@command.command("retry")
@_build_argument
@_service_option
@token_file_option
@json_option
def retry(*, build: str, remote: str | None, token_file: Path | None, as_json: bool) -> None:
    """Build again what is finished, however it ended.

    Ends with 9 where it is not finished.

    \b
    Examples:
      venvoy builds retry 0123456789abcdef0123456789abcdef --remote https://builds.example
    """
    after, build_id, url = _order("retry", build, remote, token_file)
    if as_json:
        click.echo(json.dumps(after, indent=2))
        return
    click.echo(f"{build_id}: release {printable(after['release'])} is built again")
    click.echo(f"to follow it: venvoy builds watch {url}/builds/{build_id}", err=True)


@command.command("forward")
@click.argument("file", metavar="FILE", type=click.Path(dir_okay=False, path_type=Path))
@remote_option("The build service at URL.")
@token_file_option
@json_option
def forward(*, file: Path, remote: str | None, token_file: Path | None, as_json: bool) -> None:
    """Forward what release managers signed into FILE.

    FILE comes from 'venvoy pin --propose' or 'venvoy promote --propose'. The service shows it to hosts and
    can alter nothing of it; it verifies first: signatures, that it follows the store's present state, that
    builders signed what it pins. The same file again changes nothing.

    \b
    Examples:
      venvoy builds forward 2026.1.0.json --remote https://builds.example --token-file ~/.venvoy-token
    """
    from builder.remote.naming import named_service
    from builder.remote.proposing import read_proposal

    body = read_proposal(file)
    with _connected(named_service(remote), token_file) as connection:
        done = connection.json("POST", "/api/v1/pins", body)
    if as_json:
        click.echo(json.dumps({"forwarded": done["forwarded"]}, indent=2))
        return
    for path in done["forwarded"] or ["nothing: hosts see this already"]:
        click.echo(f"forwarded {printable(path)}")


@contextlib.contextmanager
def _connected(url: str, token_file: Path | None) -> Iterator[Connection]:
    from builder.remote.connection import Connection, read_token

    with contextlib.closing(Connection(url, read_token(token_file))) as connection:
        yield connection


@contextlib.contextmanager
def _found(build: str, remote: str | None, token_file: Path | None) -> Iterator[tuple[Connection, str]]:
    from builder.remote.naming import locate_build

    url, build_id = locate_build(build, remote)
    with _connected(url, token_file) as connection:
        yield connection, build_id


def _order(
    what: str, build: str, remote: str | None, token_file: Path | None
) -> tuple[dict[str, Any], str, str]:
    """Have *what* done to a build; return how it is then, its id, and the service's address."""
    with _found(build, remote, token_file) as (connection, build_id):
        after: dict[str, Any] = connection.json("POST", f"{_BUILDS}/{build_id}/{what}")
        return after, build_id, connection.url


def _pages(connection: Connection, limit: int, **wanted: str | None) -> list[dict[str, Any]]:
    """Return up to *limit* builds, newest first, however many requests that takes."""
    from urllib.parse import urlencode

    found: list[dict[str, Any]] = []
    before: int | None = None
    while len(found) < limit:
        given = {**wanted, "before": before, "limit": min(_PAGE, limit - len(found))}
        query = urlencode({key: value for key, value in given.items() if value is not None})
        answer = connection.json("GET", f"{_BUILDS}?{query}")
        found += answer["builds"]
        before = answer["next"]
        if before is None or not answer["builds"]:
            break
    return found


def _print(build: Mapping[str, Any], *, as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps(build, indent=2))
        return
    click.echo(_row(build))
    asked = f"by {build['submitted_by']}, {build['requests']} requests, priority {build['priority']}"
    click.echo(printable(f"  asked for {build['submitted_at']} {asked}"))
    if build["error"]:
        click.echo(printable(f"  error (exit code {build['exit_code']}): {build['error']}"))
    for artifact in build["artifacts"]:
        click.echo(printable(f"  {artifact['tarball']}"))


def _row(build: Mapping[str, Any]) -> str:
    services = sorted({job["service"] for job in build["jobs"]})
    what = ", ".join(services[:5]) + (f" and {len(services) - 5} more" if len(services) > 5 else "")
    progress = build["progress"]
    state = build["state"]
    if progress is not None:
        state += f" ({progress['stage']} {progress['done']}/{progress['total']})"
    return printable(f"{build['id']}  {build['submitted_at'][:16]}  {build['release']}  {state}  {what}")
