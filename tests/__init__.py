"""Tests mirror the package; `integration` runs the real commands."""
