"""What people ask for before a run: what a net costs, what fits into a budget, and how long a step would take."""
