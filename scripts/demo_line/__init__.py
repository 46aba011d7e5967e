"""The demo: a whole line on one machine, to look at (``scripts/demo``) or to be tried (``--smoke``).

Nothing is faked: releases are signed and lie in S3, orders come as AWS IoT jobs over
MQTT with mutual TLS; only the AWS is a local one. Every socket is on loopback.
``world`` knows places and ports, ``processes`` starts and ends, ``cloud`` sets up and
asks for deployments, ``device`` runs agent, station and page; ``interactive`` and
``smoke`` are the two ways to run them.
"""
