"""Tests of the distortions, judged by a plain reference implementation."""
