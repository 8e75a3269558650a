"""The documents of the pipeline: release spec, lock, artifact manifest, pins, receipt.

This package is what builder and distributor share. It imports neither of them.
"""

__version__ = "0.1.0"
