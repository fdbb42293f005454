"""Files of this machine: written whole or not at all, found beside the package, kept in the user's cache."""
