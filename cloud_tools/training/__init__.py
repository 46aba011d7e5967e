"""Training on the bench: from a data set to one graph, its thresholds and its figures."""

import os

# torch's threads otherwise wait for each other by spinning, and on a machine that also does other work a training
# takes eight times as long. It is read when torch is loaded, and whoever set it before keeps it.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
