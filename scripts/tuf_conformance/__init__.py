"""The command line that the TUF project's conformance suite drives; see ``docs/conformance.md``."""
