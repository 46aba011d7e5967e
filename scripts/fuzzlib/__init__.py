"""Feeds what comes from outside to the readers of it, by the million, and keeps what a reader chokes on."""
