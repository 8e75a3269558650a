"""Builds by a build service: a release goes there, its progress and what was built come back."""
