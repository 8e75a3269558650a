"""Questions about what a store and hosts hold: compared, searched, and shown."""
