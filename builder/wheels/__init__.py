"""Wheels: found, fetched, built from source, checked, and cached."""
