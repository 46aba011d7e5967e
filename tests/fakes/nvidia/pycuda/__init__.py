"""A double of pycuda: of what it offers only what the agent calls, in the forms that its bindings have."""
