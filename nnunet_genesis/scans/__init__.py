"""Raw scans on disk: found, read, checked and hashed; nothing here preprocesses or writes beside the sources."""
