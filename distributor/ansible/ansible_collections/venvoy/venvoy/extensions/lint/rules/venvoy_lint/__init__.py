"""What the migration rules share: reading roles, conditions, and what a task does to a venv."""
