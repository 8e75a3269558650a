"""Builds at work: one child process at a time for each, its log, and who goes on after a crash."""
