"""What the host's kernel is asked for: locks, renames, syncs, processes, workers."""
