"""What is done in each state of a deployment; ``table`` says which step belongs to which."""
