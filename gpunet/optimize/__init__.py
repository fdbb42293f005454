"""How parameters learn: optimizers, schedules of the learning rate, freezing, decay and clipping."""
