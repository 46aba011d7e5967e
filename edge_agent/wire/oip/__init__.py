"""The Open Inference Protocol's tensors, and what it tells of models. Pure."""
