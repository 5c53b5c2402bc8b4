"""Protocol checks of the fake server, and its control from another process."""
