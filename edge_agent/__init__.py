"""The edge agent: receives vision models over the air and serves them to the line."""

__version__ = "0.1.0"
