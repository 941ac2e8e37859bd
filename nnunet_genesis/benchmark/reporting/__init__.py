"""What a benchmark's report says, and where it takes it from."""
