"""The matrix of docs/trainers.md: every configuration of nnU-Net, pretrained, trained and used by real commands."""
