"""Layers on a host: where their bytes come from, and how verified bytes become files."""
