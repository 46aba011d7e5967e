"""The local fast path: messages of a few bytes over ``fast.sock``, tensors and pictures in the client's own memory.

``docs/fast-path.md`` is its specification, ``edge_agent.wire.fast`` both ends' reading of it. Leases, queues,
deadlines, versions, verdicts and the words of errors are those of every other protocol. Not done here: reading
tensors (a worker does, see ``inference.workers.lent``), and anything that outlives a connection.
"""
