"""What is promised in docs/reliability.md: short in the default suite, whole by `make torture`."""
