"""Measurements of speed, each a script that prints its figures."""
