"""Self-supervised pretraining: patches, distortions, pretexts and the loop that trains on them."""
