"""Many devices at once: who runs what, who lags behind and why, and what devices tell of themselves.

``device``, ``query``, ``lagging`` and ``view`` decide, ``reading`` and ``log_reading`` ask AWS, ``page`` draws.
"""
