"""One module for each command of the distributor; imported only when that command runs."""
