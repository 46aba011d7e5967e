"""Model versions on disk.

Rules of the room: bytes enter only through ``admit``, which hashes them; a version
appears only complete; what is committed is one generation file. All writing goes
through ``storage.durable``. Not done here: downloading, trust, deciding what to
install or when to prune.
"""

from edge_agent.store.audit import AuditLog
from edge_agent.store.generations import Committed, Generation, Generations
from edge_agent.store.layout import check_version as check_layout
from edge_agent.store.models_file import keep_last_good, read_last_good, read_models_config, write_models_config
from edge_agent.store.quarantine import Quarantine
from edge_agent.store.store import Store

__all__ = [
    "AuditLog",
    "Committed",
    "Generation",
    "Generations",
    "Quarantine",
    "Store",
    "check_layout",
    "keep_last_good",
    "read_last_good",
    "read_models_config",
    "write_models_config",
]
