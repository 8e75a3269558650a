"""Pages about a store for people with a browser: what is released, of what it is made, how to get it."""
