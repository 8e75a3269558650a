"""``venvoy serve``: the build service."""

from __future__ import annotations

import json
from pathlib import Path

import click

from distributor.places import default_keys_directory
from service.commands.options import state_option
from service.settings import Settings

_FOLDER = click.Path(file_okay=False, path_type=Path)
_FILE = click.Path(dir_okay=False, path_type=Path)
_MEBIBYTE = 1024 * 1024


@click.command("serve", context_settings={"ignore_unknown_options": False})
@click.argument("build_options", metavar="[-- BUILD_OPTION...]", nargs=-1, type=click.UNPROCESSED)
@state_option
@click.option(
    "--store",
    envvar="VENVOY_STORE",
    metavar="LOCATION",
    help="Where to publish: a directory, file: or s3:. Without it nothing is published. Also VENVOY_STORE.",
)
@click.option(
    "--keys",
    envvar="VENVOY_KEYS",
    type=_FOLDER,
    default=default_keys_directory,
    metavar="DIRECTORY",
    help="Keys of artifacts, snapshot and timestamp, and root.json; no other keys may lie there. "
    "Also VENVOY_KEYS. [default: ~/.config/venvoy/keys]",
)
@click.option(
    "--listen",
    metavar="HOST:PORT",
    default="127.0.0.1:8800",
    show_default=True,
    help="Where to listen; port 0 takes a free one.",
)
@click.option(
    "--cache",
    type=_FOLDER,
    envvar="VENVOY_CACHE",
    help="The cache of wheels and layers. Also VENVOY_CACHE. [default: 'cache' in the state directory]",
)
@click.option("--workers", type=click.IntRange(1, 64), default=1, show_default=True, help="Builds at a time.")
@click.option(
    "--attempts",
    type=click.IntRange(1, 100),
    default=5,
    show_default=True,
    help="How often a build is begun whose worker dies, or whose store is down.",
)
@click.option(
    "--build-timeout",
    type=click.FloatRange(1),
    default=6 * 3600.0,
    show_default=True,
    metavar="SECONDS",
    help="How long one build may take.",
)
@click.option(
    "--allow-host",
    "hosts",
    multiple=True,
    metavar="HOST",
    help="A host that locks may name; may be repeated. [default: any]",
)
@click.option(
    "--rate",
    type=click.IntRange(1),
    default=600,
    show_default=True,
    help="Requests a minute for each token, or address without one.",
)
@click.option(
    "--max-request",
    type=click.IntRange(1, 1024),
    default=32,
    show_default=True,
    metavar="MIB",
    help="The largest request.",
)
@click.option(
    "--trusted-proxy",
    "proxies",
    multiple=True,
    metavar="ADDRESS",
    help="Whose X-Forwarded-For and -Proto are believed: the proxy that does TLS; may be repeated.",
)
@click.option("--tls-cert", type=_FILE, help="A certificate (PEM), to do TLS without a proxy.")
@click.option("--tls-key", type=_FILE, help="Its private key (PEM).")
@click.option("--public-read", is_flag=True, help="Show builds, logs and the store without a token.")
@click.option(
    "--site", is_flag=True, help="Bring the store's pages up to date with each publication ('venvoy site')."
)
@click.option(
    "--keep-logs",
    type=click.FloatRange(0),
    default=90.0,
    show_default=True,
    metavar="DAYS",
    help="Age of logs.",
)
@click.option(
    "--keep-results",
    type=click.FloatRange(0),
    default=7.0,
    show_default=True,
    metavar="DAYS",
    help="How long what was built can be fetched from here.",
)
@click.option(
    "--grace",
    type=click.FloatRange(0),
    default=30.0,
    show_default=True,
    metavar="SECONDS",
    help="How long builds at work may go on when the service is told to stop.",
)
@click.option("--quiet", "-q", is_flag=True, help="No line on stderr for each request.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document when ready.")
def command(
    *,
    build_options: tuple[str, ...],
    state: Path,
    store: str | None,
    keys: Path,
    listen: str,
    cache: Path | None,
    workers: int,
    attempts: int,
    build_timeout: float,
    hosts: tuple[str, ...],
    rate: int,
    max_request: int,
    proxies: tuple[str, ...],
    tls_cert: Path | None,
    tls_key: Path | None,
    public_read: bool,
    site: bool,
    keep_logs: float,
    keep_results: float,
    grace: float,
    quiet: bool,
    as_json: bool,
) -> None:
    """Run the build service until a signal ends it: HTTP API, pages for people, and the builds themselves.

    Whoever has a token ('venvoy token') submits releases with their locks; equal requests are one build.
    What was accepted survives any crash: the service, started again, goes on. What stands behind '--' goes
    to each 'venvoy build': where wheels come from, on which cluster.

    SIGTERM and Ctrl-C end it: no more requests are taken, builds at work get the time of --grace, and what
    is not done by then goes on at the next start.

    \b
    Examples:
      venvoy serve --store /srv/venvoy --keys /etc/venvoy/service-keys
      venvoy serve --listen 0.0.0.0:8800 --trusted-proxy 10.0.0.5 --store s3://venvoy
      venvoy serve --store /srv/venvoy --workers 2 -- --wheels /srv/wheels --offline
    """
    from distributor.stores.server import parse_listen
    from service.core import open_service
    from service.submission import host_name

    settings = Settings(
        state=state.absolute(),
        store=_location(store),
        keys=keys.absolute(),
        listen=parse_listen(listen),
        cache=(cache or state / "cache").absolute(),
        build_options=build_options,
        hosts=frozenset(host_name(host) for host in hosts),
        workers=workers,
        attempts=attempts,
        build_seconds=build_timeout,
        rate=rate,
        max_request=max_request * _MEBIBYTE,
        proxies=proxies,
        certificate=tls_cert,
        certificate_key=tls_key,
        public_read=public_read,
        site=site,
        log_days=keep_logs,
        result_days=keep_results,
        grace=grace,
    )
    with open_service(settings) as service:
        from service.web import server  # takes a second, which whoever is refused need not wait for

        listening = server.listen(settings.listen)
        host, port = listening.getsockname()[:2]
        scheme = "https" if settings.certificate else "http"
        url = f"{scheme}://{f'[{host}]' if ':' in host else host}:{port}/"

        def ready() -> None:
            document = json.dumps({"url": url, "state": str(settings.state)}, sort_keys=True)
            click.echo(document if as_json else f"serving at {url}")

        server.serve(service, listening, ready, quiet=quiet)


def _location(store: str | None) -> str | None:
    """Return the store's location so that it means the same in the folder of a build."""
    return str(Path(store).absolute()) if store and ":" not in store else store or None
