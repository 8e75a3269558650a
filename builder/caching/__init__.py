"""The cache of the build stage as a whole: where it is, who uses it, what may go."""
