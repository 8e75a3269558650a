"""``venvoy build --remote``: the same command, done by a build service."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import click
from click.core import ParameterSource

from builder.commands.service_options import leave, remote_option, see_through, token_file_option
from manifests.console import Console
from manifests.errors import InvalidInput

if TYPE_CHECKING:
    from collections.abc import Mapping

_Command = TypeVar("_Command", bound=Callable[..., Any])
_REMOTE = ("token_file", "publish", "priority", "fetch")
_BOTH = ("spec", "services", "targets", "output", "lock_dir", "as_json", "remote")
_GIVEN = (ParameterSource.COMMANDLINE,)


def remote_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add ``--remote`` and what goes with it; with it a service builds, and *command* is not called."""

    @remote_option("Let the build service at URL build, and fetch what it built.")
    @token_file_option
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
    from builder.remote.connection import Connection, read_token
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
        see_through(connection, build_id, console, output if options["fetch"] else None, as_json=as_json)
    except KeyboardInterrupt:
        console.done()
        if not build_id:
            raise
        leave(context, connection.url, build_id, options["token_file"], as_json=as_json)
    finally:
        connection.close()


def _shown(context: click.Context, name: str) -> str:
    return next(param.opts[0] for param in context.command.params if param.name == name)
