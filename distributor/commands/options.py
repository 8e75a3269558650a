"""Command-line options that several commands share."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from distributor.places import default_keys_directory, default_state_directory
from manifests.byte_size import parse_size
from manifests.errors import InvalidInput

if TYPE_CHECKING:
    from collections.abc import Callable

    from distributor.trust.trust import Trust


class ByteCount(click.ParamType[int]):
    """A number of bytes for people, *least* or more: ``500M``, ``2G`` (decimal units), or plain digits."""

    name = "size"

    def __init__(self, least: int = 0) -> None:
        self._least = least

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Return the number. Fails, as click does, for anything else."""
        try:
            return parse_size(str(value), what=self.name, least=self._least)
        except InvalidInput as error:
            self.fail(str(error), param, ctx)


store_option = click.option(
    "--store",
    envvar="VENVOY_STORE",
    required=True,
    metavar="LOCATION",
    help="The artifact store: a directory, file: or s3:; for reading, http(s): too. Also VENVOY_STORE.",
)
keys_option = click.option(
    "--keys",
    envvar="VENVOY_KEYS",
    type=click.Path(file_okay=False, path_type=Path),
    default=default_keys_directory,
    metavar="DIRECTORY",
    help="Where the signing keys lie. Also VENVOY_KEYS. [default: ~/.config/venvoy/keys]",
)
root_option = click.option(
    "--root",
    envvar="VENVOY_ROOT",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="The trusted root.json. Also VENVOY_ROOT. [default: /etc/venvoy/root.json]",
)
state_option = click.option(
    "--state",
    envvar="VENVOY_STATE",
    type=click.Path(file_okay=False, path_type=Path),
    default=default_state_directory,
    metavar="DIRECTORY",
    help="Where trusted metadata is remembered. Also VENVOY_STATE. [default: /var/lib/venvoy]",
)
cache_option = click.option(
    "--cache",
    envvar="VENVOY_HOST_CACHE",
    type=click.Path(file_okay=False, path_type=Path),
    metavar="DIRECTORY",
    help="Where fetched layers are kept. Also VENVOY_HOST_CACHE. [default: 'cache' in the state directory]",
)
host_store_option = click.option(
    "--store",
    "stores",
    envvar="VENVOY_STORE",
    metavar="LOCATION",
    multiple=True,
    help="The artifact store: a directory, file:, http(s): or s3:. Repeated: its mirrors, in order. "
    "Also VENVOY_STORE.",
)
bundle_option = click.option(
    "--bundle",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Read this bundle instead of a store (see 'venvoy export').",
)
limit_rate_option = click.option(
    "--limit-rate",
    type=ByteCount(least=1),
    metavar="SIZE",
    help="Fetch at most so many bytes a second (500K, 2M).",
)
release_option = click.option("--release", metavar="RELEASE", help="The release that pins what is wanted.")
channel_option = click.option(
    "--channel", metavar="CHANNEL", help="Instead of --release: the release that this channel means now."
)
python_option = click.option(
    "--python", type=click.Path(dir_okay=False, path_type=Path), help="The interpreter to bind to."
)
target_option = click.option(
    "--target", metavar="TARGET", help="Which target's artifact, where a release pins several."
)
jobs_option = click.option(
    "--jobs", "-j", type=click.IntRange(1, 64), default=2, show_default=True, help="Worker processes."
)


allow_expired_option = click.option(
    "--allow-expired",
    metavar="REASON",
    help="Accept metadata that has expired, and nothing else that is wrong; REASON goes into the history.",
)
dry_run_option = click.option("--dry-run", is_flag=True, help="Say what would be done, and do nothing.")
role_request_option = click.option(
    "--role-request",
    type=click.File("rb"),
    metavar="FILE",
    help="What a role wants besides: facts, notifications, files, checks (JSON; - is standard input).",
)
json_option = click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")


def report(document: dict[str, Any], text: Callable[[], str], *, as_json: bool) -> None:
    """Print *document* as JSON, or what *text* makes of it for people."""
    click.echo(json.dumps(document, indent=2, sort_keys=True) if as_json else text())


def warn_of_expiry(trust: Trust) -> None:
    """Name on stderr what of the store's metadata is in the last third of its life."""
    from datetime import datetime, timezone

    from distributor.publishing.expiring import warnings

    for line in warnings(trust, datetime.now(timezone.utc)):
        click.echo(f"warning: {line}", err=True)
