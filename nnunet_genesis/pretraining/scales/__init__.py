"""Patches at several scales, whose sharpness does not tell which (part of Universal Model)."""
