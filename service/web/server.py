"""The application behind a socket, until a signal ends it."""

from __future__ import annotations

import signal
import socket
from typing import TYPE_CHECKING

import uvicorn

from manifests.errors import InvalidInput, Refused
from service.web.app import make_app

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType

    from service.core import Service

_BACKLOG = 512
_HEAD_BYTES = 64 * 1024
_CONNECTIONS = 1000
_IDLE_SECONDS = 30
_LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {"plain": {"format": "%(asctime)s %(levelname)s %(message)s"}},
    "handlers": {
        "stderr": {"class": "logging.StreamHandler", "formatter": "plain", "stream": "ext://sys.stderr"}
    },
    "loggers": {
        name: {"handlers": ["stderr"], "level": "INFO", "propagate": False}
        for name in ("uvicorn", "venvoy.service")
    },
}


class _Server(uvicorn.Server):
    """Tells followers of builds to go before it waits for all requests to end."""

    def __init__(self, config: uvicorn.Config, service: Service) -> None:
        super().__init__(config)
        self._service = service

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Begin to stop; a second signal does not wait."""
        self._service.board.close()
        super().handle_exit(sig, frame)


def listen(address: tuple[str, int]) -> socket.socket:
    """Return a socket that listens. Raises Refused, InvalidInput."""
    host, port = address
    try:
        family, _, _, _, where = socket.getaddrinfo(
            host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
    except socket.gaierror as error:
        raise InvalidInput(f"--listen: {host!r} cannot be resolved: {error.strerror}") from None
    listening = socket.socket(family, socket.SOCK_STREAM)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(where)
        listening.listen(_BACKLOG)
    except OSError as error:
        listening.close()
        raise Refused(f"--listen: cannot listen on {host}:{port}: {error.strerror}; choose another") from None
    return listening


def serve(service: Service, listening: socket.socket, ready: Callable[[], None], *, quiet: bool) -> None:
    """Answer requests on *listening* until SIGTERM or SIGINT; builds at work get the settings' grace."""
    settings = service.settings
    config = uvicorn.Config(
        make_app(service),
        log_config=_LOGGING,
        access_log=not quiet,
        proxy_headers=bool(settings.proxies),
        forwarded_allow_ips=list(settings.proxies),
        server_header=False,
        limit_concurrency=_CONNECTIONS,
        h11_max_incomplete_event_size=_HEAD_BYTES,
        http="h11",
        ws="none",
        timeout_keep_alive=_IDLE_SECONDS,
        timeout_graceful_shutdown=max(1, int(settings.grace)),
        ssl_certfile=settings.certificate,
        ssl_keyfile=settings.certificate_key,
    )
    server = _Server(config, service)

    def stop(_number: int, _frame: FrameType | None) -> None:
        server.should_exit = True

    for number in (signal.SIGTERM, signal.SIGINT):
        # Until uvicorn handles them. At its end it raises them once more: to be told to stop is no failure.
        signal.signal(number, stop)
    ready()
    server.run(sockets=[listening])
