"""Tests of nnunet_genesis.transfer."""
