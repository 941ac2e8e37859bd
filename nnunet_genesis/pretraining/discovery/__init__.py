"""Self-discovery (Semantic Genesis, arXiv 2007.06959): the same anatomical place in many scans, without labels."""
