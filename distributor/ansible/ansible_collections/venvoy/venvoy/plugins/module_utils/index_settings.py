# Copyright the Venvoy authors
# SPDX-License-Identifier: Apache-2.0
"""Where packages come from: pip's options, variables and configuration, as a build understands them."""

from __future__ import annotations

import configparser
from collections.abc import Mapping
from typing import Any

_CONFIGURATION = "/etc/pip.conf"


def index_environment(
    outer: Mapping[str, str], inputs: Mapping[str, Any], find_links: list[str], read_configuration: bool
) -> dict[str, str]:
    """Return the environment of a build: *outer*, with the index settings of *inputs* as uv reads them.

    What a play says comes before pip's variables, and those before the host's own configuration of pip.
    """
    configured = _configured() if read_configuration else {}

    def first(said: list[str], name: str) -> list[str]:
        if said:
            return said
        return (outer.get(f"PIP_{name}") or configured.get(name.lower().replace("_", "-"), "")).split()

    extra = first(inputs["extra_indexes"], "EXTRA_INDEX_URL")
    found = {
        "UV_DEFAULT_INDEX": " ".join(first([inputs["index"]] if inputs["index"] else [], "INDEX_URL")),
        "UV_INDEX": " ".join(extra),
        # As pip does: the best version of all indexes, not the first index that knows the name.
        "UV_INDEX_STRATEGY": "unsafe-best-match" if extra else "",
        "UV_INSECURE_HOST": " ".join(first(inputs["insecure_hosts"], "TRUSTED_HOST")),
        "UV_FIND_LINKS": ",".join([*find_links, *first([], "FIND_LINKS")]),
        "UV_PRERELEASE": "allow" if inputs["prereleases"] else "",
    }
    around_proxies = [outer.get("no_proxy") or outer.get("NO_PROXY") or "", "127.0.0.1"]
    found["no_proxy"] = found["NO_PROXY"] = ",".join(filter(None, around_proxies))
    if outer.get("PIP_CERT"):
        found["SSL_CERT_FILE"] = found["REQUESTS_CA_BUNDLE"] = outer["PIP_CERT"]
    return {**outer, **{name: value for name, value in found.items() if value}}


def _configured() -> dict[str, str]:
    """Return the host's own settings of pip that say where packages come from."""
    parser = configparser.RawConfigParser()
    try:
        parser.read(_CONFIGURATION, encoding="utf-8")
    except (configparser.Error, UnicodeDecodeError):
        return {}
    found: dict[str, str] = {}
    for section in ("global", "install", "wheel"):
        if parser.has_section(section):
            found.update(parser.items(section))
    return found
