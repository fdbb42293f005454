"""What people do with a net beside training it: slide, look inside, check, demonstrate, examine the machine."""
