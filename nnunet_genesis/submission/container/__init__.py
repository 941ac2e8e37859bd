"""What is copied into a container for grand-challenge.org; nothing here imports the rest of this package."""
