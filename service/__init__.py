"""The build service: takes releases with their locks, builds and publishes them, and says how it goes."""
