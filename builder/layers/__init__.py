"""One wheel becomes one layer: tree, launchers, compiled files, tar, frames."""
