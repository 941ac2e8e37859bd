"""Tests of the benchmark that compares initialisations."""
