"""What the scan monitor shows, read from what syncs and scans leave on disk; nothing here walks the mirror."""
