"""What is fast and what is small: scripts that measure, and their results."""
