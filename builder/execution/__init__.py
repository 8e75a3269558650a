"""Where the steps of a build run: processes of this machine, or the workers of a cluster."""
