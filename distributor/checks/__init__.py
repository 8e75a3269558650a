"""Whether an artifact fits a host, asked before anything is switched."""
