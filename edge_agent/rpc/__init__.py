"""The gRPC servers: one short servicer per protocol, and what surrounds them.

A servicer converts, asks a port, converts back. Ports (``rpc.ports``) are what whoever
builds the servers brings. Errors leave as ``AgentError``; the interceptor makes gRPC's
status of them by the one table in ``rpc.status``. Not done here: anything that outlives
a call, except the names that clients gave to models.
"""
