"""Stores behind any web server, read over requests."""
