"""Releases: who signs, where they lie, and how one is published.

The TUF repository under one URL::

    metadata/    N.root.json, N.targets.json, N.snapshot.json, timestamp.json
    targets/<model>/<version>/<sha256>.manifest.json   what TUF clients ask for
    targets/<model>/<version>/manifest.json            the same bytes, for people
    blobs/sha256/<hex>                                 artefacts

``chain`` reads them as a device does, ``repository`` signs and uploads, ``authority`` changes who may sign,
``pending`` keeps what was begun; these four know python-tuf. ``keys`` and ``tokens`` hold what signs.
"""
