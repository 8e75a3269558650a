"""The side of a store that signs: payload first, metadata last."""
