"""One module for each command of the builder; imported only when that command runs."""
