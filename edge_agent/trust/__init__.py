"""What this device believes: signed metadata, floors that only rise, and the clock against both.

::

    client = TrustClient(directory, root, objects, allow_demo_root=False, now=time.time)
    client.refresh()                            # fetch and verify; nothing of what fails is kept
    client.release(ModelVersion("unet", "2"))   # the verified manifest
    client.floor("unet")                        # lowest release_seq that may run; works offline
    client.clock()                              # the clock against what was signed

Rules of the room: whatever is fetched is bounded before it is read; python-tuf works
on a copy, and only what passed every check is written durably; floors stand in two
checksummed copies, so that torn metadata cannot be used to offer an older repository.
A model may be signed by a role of its own that targets delegates to; what is wrong with
one such role stops its models and no other's.
``StandardClient`` is the same room without our own rules, for the conformance suite of TUF.
Not done here: downloading artefacts (transfer), deciding what to install (deployment).

On disk: ``metadata/`` (as python-tuf keeps it), ``floors-1.json`` and ``floors-2.json``.
"""

from edge_agent.trust.client import Release, TrustClient
from edge_agent.trust.rules import BUILT, MAX_SKEW_S
from edge_agent.trust.standard import StandardClient
from edge_agent.trust.working_copy import Readable

__all__ = ["BUILT", "MAX_SKEW_S", "Readable", "Release", "StandardClient", "TrustClient"]
