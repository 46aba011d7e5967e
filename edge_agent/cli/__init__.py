"""``edge-agent``: arguments in, exit code out.

``--json`` answers with documents on stdout, one line each; everything else of a verb's
talk goes to stderr, errors as one line. Verbs that ask the agent do so through its
control socket, as any other program would.
"""

from edge_agent.cli.app import main

__all__ = ["main"]
