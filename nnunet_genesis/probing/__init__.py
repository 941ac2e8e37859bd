"""What frozen features tell: linear probes for modality and source, and a picture of the features."""
