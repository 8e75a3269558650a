"""Stores, trust and hosts: publish, pin, fetch, verify, install. Imports ``manifests`` only."""
