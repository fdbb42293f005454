"""What there is to say of a net before anything is planned: its layers and the notes' rules of thumb."""
