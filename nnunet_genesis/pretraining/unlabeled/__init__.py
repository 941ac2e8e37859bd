"""Pools: raw scans without labels, preprocessed by a dataset's plans for pretraining."""
