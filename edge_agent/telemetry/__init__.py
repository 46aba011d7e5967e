"""What the processes tell of themselves: logs, metrics, events, signs of life."""
