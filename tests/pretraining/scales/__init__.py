"""Tests of patches at several scales."""
