"""A loaded version in a process of its own: lanes to it, and who keeps it alive."""
