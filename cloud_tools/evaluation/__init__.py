"""Figures of models: pure metrics, and judging a graph as the device would execute it."""
