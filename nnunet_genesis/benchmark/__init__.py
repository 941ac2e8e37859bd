"""Does pretraining help, and how sure is it: many trainings of nnU-Net, compared fairly."""
