"""nnU-Net's commands and ours, on real and synthetic scans."""
