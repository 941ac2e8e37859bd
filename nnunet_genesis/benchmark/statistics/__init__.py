"""Is pretraining better than scratch, by how much, and how sure is that."""
