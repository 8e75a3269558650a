"""The service over HTTP: its API, its pages, and who may use them."""
