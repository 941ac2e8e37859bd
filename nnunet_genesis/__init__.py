"""Self-supervised pretraining for nnU-Net v2.

Importing the package loads neither torch nor nnU-Net, so that command lines answer at once and the start-up line that
makes our trainers discoverable costs nothing.
"""

__version__ = "0.1.0"
