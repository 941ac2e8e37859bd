"""Tests of raw scans: finding, naming, reading, checking and hashing."""
