"""The build service: wheels become layers, layers become artifacts. Imports ``manifests`` only."""
