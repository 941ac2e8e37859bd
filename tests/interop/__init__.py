"""Tests of nnunet_genesis.interop."""
