"""The front door: one command, whose parts are imported only when they are asked for.

A host never imports builder code; ``--help`` imports no command at all.
"""

from __future__ import annotations

import atexit
import gc
import importlib
import json
import os
import signal
import sys
from typing import Any, NoReturn

import click

from manifests import __version__
from manifests.cycles import look_for_cycles_seldom
from manifests.errors import VenvoyError

# Command: (module that holds its click command, extra that it needs, short help).
_COMMANDS = {
    "lock": ("builder.commands.lock", "build", "Resolve each service for each target into a lock (PEP 751)."),
    "build": ("builder.commands.build", "build", "Build the artifacts of a release from its locks."),
    "builds": ("builder.commands.builds", "build", "See and steer the builds of a build service."),
    "cache": ("builder.commands.cache", "build", "Show and clean the cache of wheels and layers."),
    "worker": ("builder.commands.worker", "build,cluster", "Build for a cluster on this machine."),
    "reproduce": ("builder.commands.reproduce", "build", "Build an artifact again, and compare to the bit."),
    "tool": ("builder.commands.tool", "build", "Build Venvoy's own host part, for hosts that have nothing."),
    "init": ("distributor.commands.init", "sign", "Set up a store and the keys that sign for it."),
    "publish": ("distributor.commands.publish", "sign", "Bring built artifacts into a store and sign them."),
    "pin": ("distributor.commands.pin", "sign", "Sign what a release means."),
    "promote": ("distributor.commands.promote", "sign", "Make a channel mean a release."),
    "countersign": (
        "distributor.commands.countersign",
        "sign",
        "Sign what another manager signed, where it takes several.",
    ),
    "forward": ("distributor.commands.forward", "sign", "Bring what managers signed elsewhere into a store."),
    "prune": ("distributor.commands.prune", "sign", "Remove artifacts that no release pins."),
    "mirror": ("distributor.commands.mirror", "", "Bring a store to the state of another one."),
    "keys": ("distributor.commands.keys", "sign", "Make keys, see which count, and change them."),
    "renew": ("distributor.commands.renew", "sign", "Sign the store's present state for another term."),
    "releases": ("distributor.commands.releases", "", "List the releases of a store."),
    "show": ("distributor.commands.show", "", "Show a release, a channel or an artifact."),
    "history": ("distributor.commands.history", "", "List all moves of channels."),
    "diff": (
        "distributor.commands.diff",
        "",
        "Show how releases, artifacts, builds or hosts differ.",
    ),
    "find": ("distributor.commands.find", "", "Say which releases, services and hosts hold a package."),
    "sbom": ("distributor.commands.sbom", "", "Print an artifact's bill of materials, or its provenance."),
    "site": ("distributor.commands.site", "site", "Write pages about a store, for a browser."),
    "serve-store": ("distributor.commands.serve_store", "", "Serve a directory store over HTTP, read-only."),
    "export": ("distributor.commands.export", "", "Write a release into one file, a bundle."),
    "import": ("distributor.commands.import_", "", "Add a bundle to a store."),
    "serve": ("service.commands.serve", "service", "Run the build service."),
    "token": ("service.commands.token", "service", "Hand out tokens of the build service, or revoke them."),
    "fetch": ("distributor.commands.fetch", "", "Bring what an install will need onto this host."),
    "install": ("distributor.commands.install", "", "Install a service of a release on this host."),
    "status": ("distributor.commands.status", "", "Show what is installed."),
    "rollback": ("distributor.commands.rollback", "", "Make the tree that was active before active again."),
    "remove": ("distributor.commands.remove", "", "Remove a venv; the host's own files stay."),
    "acknowledge": ("distributor.commands.acknowledge", "", "Note that a play's handlers have run."),
    "hold": ("distributor.commands.hold", "", "Keep a tree from gc, or let it go again."),
    "gc": ("distributor.commands.gc", "", "Remove replaced trees that nobody needs."),
    "verify": ("distributor.commands.verify", "", "Check every file of an installed venv."),
}
_EPILOG = """\b
From locks to a running venv:
  venvoy lock && venvoy build
  venvoy init /srv/venvoy
  venvoy publish build/ --store /srv/venvoy
  venvoy pin 2026.1.0 build/ --store /srv/venvoy
  venvoy install keystone --release 2026.1.0 --dest /openstack/venvs/keystone --store /srv/venvoy

Exit codes: 0 done, 1 unexpected, 2 bad input, 3 verification failed, 4 host unsuitable, 5 not found,
6 locked, 7 store or network, 8 health check failed, 9 refused.
"""


class _LazyGroup(click.Group):
    """A group that knows its commands' names and short helps without importing them."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _COMMANDS:
            return None
        command: click.Command = importlib.import_module(_COMMANDS[cmd_name][0]).command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, short) for name, (_, _, short) in _COMMANDS.items()])

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        name = args[0] if args else ""
        if name and name not in _COMMANDS and not name.startswith("-"):
            import difflib

            close = difflib.get_close_matches(name, _COMMANDS, n=1)
            hint = f" Did you mean {close[0]!r}?" if close else ""
            ctx.fail(f"No such command {name!r}.{hint}")
        return super().resolve_command(ctx, args)


@click.group(cls=_LazyGroup, epilog=_EPILOG, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="venvoy")
def cli() -> None:
    """Build relocatable, signed venv tarballs from wheels, and install them atomically on hosts."""


def main(arguments: list[str] | None = None) -> NoReturn:
    """Run the command line and exit with its status; errors are one or two lines, no traceback."""
    # A closed pipe ends us like any other tool, without a traceback.
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    look_for_cycles_seldom()
    # Nor are they looked for at the end, which ends them all.
    atexit.register(gc.freeze)
    given = sys.argv[1:] if arguments is None else arguments
    try:
        result = cli.main(args=given, prog_name="venvoy", standalone_mode=False)
        sys.exit(result if isinstance(result, int) else 0)
    except VenvoyError as error:
        _fail(str(error), error.exit_code, given)
    except (click.exceptions.Abort, KeyboardInterrupt):
        _fail("interrupted; nothing was left half-done, the same command goes on", 130, given)
    except click.ClickException as error:
        if "--json" in given:
            _fail(error.format_message(), error.exit_code, given)
        error.show()
        sys.exit(error.exit_code)
    except ModuleNotFoundError as error:
        _fail(_missing_extra(error, given), 1, given)
    except Exception as error:
        if os.environ.get("VENVOY_DEBUG"):
            raise
        what = " ".join(f"{type(error).__name__}: {error}".split())
        _fail(f"unexpected: {what}\nplease report it; VENVOY_DEBUG=1 shows where it comes from", 1, given)


def _missing_extra(error: ModuleNotFoundError, given: list[str]) -> str:
    """Say which extra brings the package that a command needs."""
    name = next((word for word in given if word in _COMMANDS), "")
    extra = _COMMANDS[name][1] if name else ""
    wanted = f"venvoy[{extra}]" if extra else "venvoy"
    return f"'venvoy {name}' needs {error.name}, which is not installed: pip install '{wanted}'"


def _fail(message: str, code: int, given: list[str]) -> NoReturn:
    if "--json" in given:
        document: dict[str, Any] = {"error": message, "exit_code": code}
        click.echo(json.dumps(document, indent=2))
    click.echo(f"venvoy: {message}", err=True)
    sys.exit(code)


if __name__ == "__main__":
    main()
