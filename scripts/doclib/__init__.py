"""What ``scripts/generate-docs`` writes: each module tells one thing from the code that decides it."""
