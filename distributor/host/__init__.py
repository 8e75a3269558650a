"""Venvs on a host: installed, switched, rolled back, held, shown, collected."""
