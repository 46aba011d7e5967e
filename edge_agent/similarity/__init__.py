"""What a model remembers of the parts that it learnt from, and how live parts lie to it.

::

    memory = PartMemory(bank_of, Places(path), capture=capture_far, now=…)
    memory.start()
    memory.offer(frame, embedded, captured)        # never blocks; what cannot be taken is not looked at
    memory.status(version) -> BankStatus | None    # drift
    memory.place_of(frame_id) -> Sequence[Embedded]
    memory.alike(version, embedding, limit) -> Alike

Rules of the room: an inspection never waits for it; a bank that is broken is told and costs
the model nothing; embeddings of different versions are never compared. Not done here: what a
capture is (``capture``), computing embeddings (``inference``).
"""

from edge_agent.similarity.memory import Alike, PartMemory
from edge_agent.similarity.places import Place, Places

__all__ = ["Alike", "PartMemory", "Place", "Places"]
