"""Tests of self-discovery."""
