"""What ``scripts/bench`` measures, one module for each part of the agent."""
