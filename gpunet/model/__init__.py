"""A plan bound to a device: parameters, batches, and the steps that run in the arena."""
