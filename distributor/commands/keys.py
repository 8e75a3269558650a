"""``venvoy keys``: make keys, see which count, and change them."""

from __future__ import annotations

import importlib

import click

_COMMANDS = {
    "new": "keys_new",
    "status": "keys_status",
    "rotate": "keys_rotate",
    "draft": "keys_draft",
    "sign": "keys_sign",
    "apply": "keys_apply",
}


class _Group(click.Group):
    """A group that imports a command when it is asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _COMMANDS:
            return None
        command: click.Command = importlib.import_module(
            f"distributor.commands.{_COMMANDS[cmd_name]}"
        ).command
        return command


@click.group(cls=_Group, name="keys")
def command() -> None:
    """Make keys, see which count and until when, and change them without touching hosts.

    Where all keys are in one directory, 'rotate' does it at once. Where they are apart, a change is drafted
    (no keys needed), signed by each keyholder offline, and applied by whoever publishes.

    \b
    Examples:
      venvoy keys status --store /srv/venvoy
      venvoy keys rotate timestamp --store /srv/venvoy
      venvoy keys draft --add releases=ada.pub.json --remove releases=1f0c -o change.json --store /srv/venvoy
      venvoy keys sign change.json --keys /media/offline/keys
      venvoy keys apply change.json --store /srv/venvoy
    """
