"""What the service must not forget: builds, their inputs, tokens; one SQLite database."""
