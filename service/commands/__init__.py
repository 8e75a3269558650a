"""The commands that run the service and hand out its tokens."""
