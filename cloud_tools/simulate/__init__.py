"""A fleet that is not there: many devices in one process, for trying what a rollout does to a thousand of them.

Each device is the agent's own talk with the job service (``edge_agent.jobs``: session, MQTT connection) on a
connection of its own with mutual TLS. What it would do with a job is played: ``course`` says which state follows
when, and how it ends. Nothing is downloaded, not even a manifest, and nothing is kept: a device that is simulated
does not restart. One thread works for all devices, and a few of the MQTT library's carry all connections.

Not done here: creating jobs. ``edge-cloud deploy`` and whoever else does see a fleet like any other.
"""
