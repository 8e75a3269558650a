"""The API of pins: what release managers signed elsewhere is forwarded, never signed here."""

from __future__ import annotations

import asyncio
import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from fastapi import APIRouter, Depends, Request

from builder.remote.connection import error_of
from manifests import proposal
from manifests.atomic_file import write_atomically
from manifests.errors import Locked, StoreUnavailable
from service.core import Service
from service.running.child import Child, Progress
from service.web.access import may_publish, service_of
from service.web.models import Forwarded, Proposal
from service.web.problems import CHANGING, answers

if TYPE_CHECKING:
    from service.running.child import Outcome

Serving = Annotated[Service, Depends(service_of)]
Publisher = Annotated[str, Depends(may_publish)]
_SECONDS = 120.0

router = APIRouter(prefix="/api/v1/pins", tags=["pins"])


@router.post("", responses={**CHANGING, **answers(404, 409)})
async def forward(body: Proposal, request: Request, service: Serving, _who: Publisher) -> Forwarded:
    """Forward what 'venvoy pin --propose' or 'promote --propose' wrote.

    It is verified before anything is stored: the managers' signatures, that it follows the store's present
    state, that builders signed what it pins. The same again changes nothing.
    """
    plain = body.model_dump_json().encode()
    await asyncio.to_thread(proposal.Proposal.from_json, plain)  # nonsense needs no process of its own
    with tempfile.TemporaryDirectory(prefix="forward-", dir=service.settings.state) as folder:
        file = Path(folder) / "proposal.json"
        try:
            write_atomically(file, plain, mode=0o600, sync=False)
            outcome = await _run(service, service.plan.forward_command(file), Path(folder))
        except OSError as error:
            raise StoreUnavailable(f"cannot forward this: {error.strerror}") from error
    if outcome.code != 0:
        said = str(outcome.document.get("error", f"the command ended with status {outcome.code}"))
        raise error_of(outcome.code if outcome.code > 1 else StoreUnavailable.exit_code, said)
    return Forwarded(forwarded=outcome.document["forwarded"])


async def _run(service: Service, arguments: list[str], folder: Path) -> Outcome:
    child = await Child.start(
        arguments, folder=folder, environment=dict(os.environ), say=_nothing, progress=_nothing
    )
    try:
        return await asyncio.wait_for(child.outcome(), _SECONDS)
    except asyncio.TimeoutError:
        await child.end()
        raise Locked(f"the store was not free for {_SECONDS:g} s; try again") from None


def _nothing(_: str | Progress) -> None:
    """Take what a command says that ends in an instant."""
