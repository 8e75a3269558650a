"""The documents of the pipeline: release spec, lock, artifact manifest, pins, receipt.

This package is what builder and distributor share. It imports neither of them.
"""

__version__ = "0.1.0"

BUILT = "2026-11-01T00:00:00+00:00"
"""No host's clock can be before this. It moves with each version."""
