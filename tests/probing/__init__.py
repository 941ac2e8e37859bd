"""Tests of the probes of frozen features."""
