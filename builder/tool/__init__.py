"""Venvoy's own host part as an artifact, for hosts that have nothing yet but tar, sha256sum and python3."""
