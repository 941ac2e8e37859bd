"""Readers of weights that others wrote, and of our own."""
