"""A deployment: the device's work on one job, from the order to its report.

``states``, ``record``, ``plan`` and ``guards`` decide and are pure; ``steps`` acts, one
function a state; ``deployer`` is the one thread that walks a record through the table;
``journal`` keeps it through a power cut. Not done here: how bytes are fetched, verified,
stored or executed.
"""
