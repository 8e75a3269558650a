"""Walls round code that a build must run and nobody vouches for: sdists."""
