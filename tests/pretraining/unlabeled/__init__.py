"""Tests of pretraining: distortions, pretexts and intensities."""
