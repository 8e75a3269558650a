"""Artifact stores behind one small protocol."""
