"""JSON form of results: readers and writers."""
