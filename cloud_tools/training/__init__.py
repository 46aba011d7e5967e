"""Training on the bench: from a data set to one graph, its thresholds and its figures."""
