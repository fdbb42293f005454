"""What values have in common: those that people hand over are checked, those that they get show themselves."""
