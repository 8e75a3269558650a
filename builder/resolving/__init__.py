"""Release specs become locks: uv resolves, and nothing is resolved ever after."""
