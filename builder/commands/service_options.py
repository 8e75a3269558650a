"""What commands that talk to a build service share: where it is, the token, the end of a build."""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from manifests.console import size
from manifests.errors import Refused

if TYPE_CHECKING:
    from builder.remote.connection import Connection
    from manifests.console import Console

_Command = TypeVar("_Command", bound=Callable[..., Any])
_INTERRUPTED = 130


def remote_option(what: str) -> Callable[[_Command], _Command]:
    """Ask for the service's URL, as ``remote``; *what* says, as a sentence, what it is to the command."""
    return click.option("--remote", metavar="URL", envvar="VENVOY_REMOTE", help=f"{what} Also VENVOY_REMOTE.")


token_file_option = click.option(
    "--token-file",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Where the token for the service lies. [default: VENVOY_TOKEN holds it]",
)


def see_through(
    connection: Connection, build_id: str, console: Console, output: Path | None, *, as_json: bool
) -> None:
    """Follow a build to its end, bring what it built into *output*, if given, and print what came of it.

    Raises what a build on this machine would have ended with.
    """
    from builder.remote.fetching import fetch_files
    from builder.remote.following import Follower

    build = Follower(connection, build_id, console).follow()
    _raise_unless_built(build, connection.url)
    if output is not None:
        fetch_files(
            connection,
            build,
            output,
            lambda done, total, name: console.bar("fetch", done, total, f"{done}/{total} {name}"),
        )
    console.done()
    _report_built(build, output, as_json=as_json)


def _raise_unless_built(build: Mapping[str, Any], url: str) -> None:
    """Raise what a build on this machine would have ended with, unless *build* ended well."""
    from builder.remote.connection import error_of

    where = f"{url}/builds/{build['id']}"
    if build["state"] == "cancelled":
        raise Refused(
            f"{where} was cancelled; 'venvoy builds retry', or asking for the same, builds it again"
        )
    if build["state"] == "failed":
        raise error_of(build["exit_code"] or 1, f"{build['error']} ({where})")


def _report_built(build: Mapping[str, Any], output: Path | None, *, as_json: bool) -> None:
    """Print what a build on this machine would print; paths are the service's where nothing was fetched."""
    artifacts = [
        {**artifact, **{key: str((output or Path()) / artifact[key]) for key in ("tarball", "manifest")}}
        for artifact in build["artifacts"]
    ]
    if as_json:
        document = {"release": build["release"], "build": build["id"], "state": build["state"]}
        click.echo(json.dumps({**document, "artifacts": artifacts}, indent=2))
        return
    verb = "published" if build["state"] == "published" else "built"
    for artifact in artifacts:
        click.echo(f"{verb} {artifact['tarball']}: {size(artifact['length'])}")


def leave(context: click.Context, url: str, build_id: str, token_file: Path | None, *, as_json: bool) -> None:
    """End after Ctrl-C, saying where the build goes on and how to come back to it."""
    where = f"{url}/builds/{build_id}"
    token = f" --token-file {shlex.quote(str(token_file))}" if token_file else ""
    text = (
        f"interrupted; the build goes on at {where}\n"
        f"the same command comes back to it, and so does: venvoy builds watch {where}{token}"
    )
    if as_json:
        click.echo(json.dumps({"error": text, "exit_code": _INTERRUPTED, "build": build_id}, indent=2))
    click.echo(f"venvoy: {text}", err=True)
    context.exit(_INTERRUPTED)
