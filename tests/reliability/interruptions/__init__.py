"""Runs that are killed, stopped, requeued, or very long."""
