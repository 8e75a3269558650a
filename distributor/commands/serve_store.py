"""``venvoy serve-store``: a directory store over HTTP, read-only."""

from __future__ import annotations

import json
from pathlib import Path

import click

from distributor.commands.options import json_option


@click.command(name="serve-store")
@click.argument("directory", metavar="DIR", type=click.Path(file_okay=False, path_type=Path))
@click.option(
    "--listen",
    metavar="HOST:PORT",
    default="127.0.0.1:8080",
    show_default=True,
    help="Where to listen; port 0 takes a free one.",
)
@click.option("--quiet", "-q", is_flag=True, help="No line on stderr for each request.")
@json_option
def command(directory: Path, listen: str, *, quiet: bool, as_json: bool) -> None:
    """Serve the store in DIR over HTTP, read-only, until a signal ends it.

    For small sites and for tests: no TLS, no passwords. Hosts trust signed metadata, not the server.
    SIGTERM and Ctrl-C end it when the requests in flight are answered.

    \b
    Examples:
      venvoy serve-store /srv/venvoy
      venvoy serve-store /srv/venvoy --listen 0.0.0.0:8080 --quiet
      venvoy install keystone --release 2026.1.0 --dest /opt/keystone --store http://repo.example:8080
    """
    import signal
    import threading

    from distributor.stores.server import StoreServer, parse_listen

    ended = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: ended.set())
    # A client that hangs up must not end the server.
    signal.signal(signal.SIGPIPE, signal.SIG_IGN)
    server = StoreServer(directory, parse_listen(listen), log=not quiet)
    thread = threading.Thread(target=server.serve_forever, name="accept")
    thread.start()
    shown = str(directory.absolute())
    document = json.dumps({"serving": shown, "url": server.url}, sort_keys=True)
    click.echo(document if as_json else f"serving {shown} at {server.url}")
    ended.wait()
    server.stop()
    thread.join()
