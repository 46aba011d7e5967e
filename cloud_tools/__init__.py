"""What the cloud operator runs: train, sign, publish, roll out, watch."""
