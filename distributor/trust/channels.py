"""What channels mean, and meant, by the signed metadata of a store."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from distributor.trust.trust import RELEASES, Trust
from distributor.trust.tuf_api import TargetFile
from manifests.channels import Move, channel_name, channel_path, parse_channel_path
from manifests.errors import NotFound, VerificationFailed

if TYPE_CHECKING:
    from collections.abc import Mapping


def channel_heads(trust: Trust) -> dict[str, TargetFile]:
    """Return the newest signed move of each channel, by the channel's name."""
    heads: dict[str, tuple[int, TargetFile]] = {}
    for path, target in trust.entries(RELEASES).items():
        parsed = parse_channel_path(path)
        if parsed is not None and parsed[1] > heads.get(parsed[0], (0, None))[0]:
            heads[parsed[0]] = parsed[1], target
    return {name: target for name, (_, target) in sorted(heads.items())}


def channels(trust: Trust) -> Mapping[str, Move]:
    """Return where each channel stands, by name."""
    return {name: _read(trust, name, target) for name, target in channel_heads(trust).items()}


def channel(trust: Trust, name: str) -> Move:
    """Return where the channel *name* stands. Raises NotFound naming what there is."""
    heads = channel_heads(trust)
    if channel_name(name) not in heads:
        there = ", ".join(heads) or "none"
        raise NotFound(f"there is no channel {name} in {trust.location}; there are: {there}")
    return _read(trust, name, heads[name])


def moves(trust: Trust, name: str) -> Iterator[Move]:
    """Yield all moves of the channel *name*, the newest first. Raises NotFound where one is not there."""
    move = channel(trust, name)
    while True:
        yield move
        if move.earlier is None:
            return
        hashes: dict[str, str] = {"sha256": move.earlier.sha256}
        path = channel_path(name, move.number - 1)
        move = _read(trust, name, TargetFile(move.earlier.length, hashes, path))


def _read(trust: Trust, name: str, target: TargetFile) -> Move:
    what = f"{target.path} in {trust.location}"
    move = Move.from_json(trust.read(target), what=what)
    if (move.channel, move.number) != parse_channel_path(target.path) or move.channel != name:
        raise VerificationFailed(f"{what} is a move of {move.channel}, number {move.number}")
    if (move.earlier is None) != (move.number == 1):
        raise VerificationFailed(f"{what} does not name the move before it")
    return move
