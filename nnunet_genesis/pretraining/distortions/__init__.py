"""Distortions of batched patches, one per file, each in two steps: `sample_*` draws parameters, `apply_*` uses them.

Parameters live on the CPU and come from an explicit `torch.Generator`; applying them is a pure function of the patch
and the parameters, so that a pair can be replayed, tested and drawn. Bulky random numbers (noise, permutations) are not
parameters: each sample carries the seed that they are drawn from, on the device where they are used.

Shapes: patches are (batch, channels, *spatial) with two or three spatial axes.
"""
