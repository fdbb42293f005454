"""Training: epochs over a data set, the learning rate's schedule, what is measured, and the folder of a run."""
