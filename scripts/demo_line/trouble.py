"""What a demo can fail with."""


class DemoError(Exception):
    """Something that a person can mend; the message says how."""
