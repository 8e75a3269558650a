"""A part of a store in one file, for hosts and sites without a network."""
