"""Trained models and pretrainings as challenges take them: archives, containers, checkpoints."""
