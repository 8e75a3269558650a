"""``venvoy build --remote``: the same command, done by a build service."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click
from click.core import ParameterSource

from manifests.console import Console, size
from manifests.errors import InvalidInput, Refused

if TYPE_CHECKING:
    from collections.abc import Mapping

_Command = TypeVar("_Command", bound=Callable[..., Any])
_REMOTE = ("token_file", "publish", "priority", "fetch")
_BOTH = ("spec", "services", "targets", "output", "lock_dir", "as_json", "remote")
_GIVEN = (ParameterSource.COMMANDLINE,)
_INTERRUPTED = 130


def remote_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add ``--remote`` and what goes with it; with it a service builds, and *command* is not called."""

    @click.option(
        "--remote",
        metavar="URL",
        envvar="VENVOY_REMOTE",
        help="Let the build service at URL build, and fetch what it built. Also VENVOY_REMOTE.",
    )
    @click.option(
        "--token-file",
        type=click.Path(dir_okay=False, path_type=Path),
        help="Where the token for the service lies. [default: VENVOY_TOKEN holds it]",
    )
    @click.option("--publish", is_flag=True, help="Have the service publish what it builds.")
    @click.option(
        "--priority",
        type=click.IntRange(-100, 100),
        default=0,
        metavar="NUMBER",
        help="What the service shall begin first: higher ones.",
    )
    @click.option(
        "--fetch/--no-fetch",
        default=True,
        show_default=True,
        help="Bring what the service built into --output.",
    )
    @functools.wraps(command)
    def with_remote(remote: str | None, **options: Any) -> Any:
        context = click.get_current_context()
        given = [name for name in context.params if context.get_parameter_source(name) in _GIVEN]
        if remote is None:
            foreign = [name for name in given if name in _REMOTE]
            if foreign:
                raise InvalidInput(
                    f"{_shown(context, foreign[0])} is for builds by a service; name it with --remote"
                )
            return command(**{name: value for name, value in options.items() if name not in _REMOTE})
        foreign = [name for name in given if name not in (*_REMOTE, *_BOTH)]
        if foreign:
            raise InvalidInput(
                f"{_shown(context, foreign[0])} is for builds on this machine; a service decides that "
                "itself: leave it out, or --remote"
            )
        return _build_remotely(context, remote, options)

    return with_remote


def _build_remotely(context: click.Context, url: str, options: Mapping[str, Any]) -> None:
    from builder.remote.connection import Connection, error_of, read_token
    from builder.remote.fetching import fetch_files
    from builder.remote.following import Follower
    from builder.remote.request import build_request

    spec, output, as_json = options["spec"], options["output"], options["as_json"]
    console = Console(quiet=as_json)
    body = build_request(spec, options["services"], options["targets"], options["lock_dir"])
    body |= {"publish": options["publish"], "priority": options["priority"]}
    connection = Connection(url, read_token(options["token_file"]))
    build_id = ""
    try:
        build = connection.json("POST", "/api/v1/builds", body)
        build_id = str(build["id"])
        joined = f", which {build['requests'] - 1} asked for before" if build["requests"] > 1 else ""
        console.line(f"{connection.url}/builds/{build_id}: release {build['release']}{joined}")
        build = Follower(connection, build_id, console).follow()
        if build["state"] == "cancelled":
            raise Refused(f"build {build_id} was cancelled; the same command asks for it again")
        if build["state"] == "failed":
            raise error_of(build["exit_code"] or 1, f"{build['error']} ({connection.url}/builds/{build_id})")
        if options["fetch"]:
            fetch_files(
                connection,
                build,
                output,
                lambda done, total, name: console.bar("fetch", done, total, f"{done}/{total} {name}"),
            )
        console.done()
        _report(build, output if options["fetch"] else None, as_json=as_json)
    except KeyboardInterrupt:
        console.done()
        _interrupted(context, connection.url, build_id, as_json=as_json)
    finally:
        connection.close()


def _report(build: Mapping[str, Any], output: Path | None, *, as_json: bool) -> None:
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


def _interrupted(context: click.Context, url: str, build_id: str, *, as_json: bool) -> None:
    """Say where the build went, and how to come back."""
    if not build_id:
        raise KeyboardInterrupt
    text = (
        f"interrupted; the build goes on at {url}/builds/{build_id}\n"
        "the same command comes back to it: equal requests are one build"
    )
    if as_json:
        click.echo(json.dumps({"error": text, "exit_code": _INTERRUPTED, "build": build_id}, indent=2))
    click.echo(f"venvoy: {text}", err=True)
    context.exit(_INTERRUPTED)


def _shown(context: click.Context, name: str) -> str:
    return next(param.opts[0] for param in context.command.params if param.name == name)
