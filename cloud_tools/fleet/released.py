"""Which release of each model is the newest that somebody signed."""

from cloud_tools.release.chain import read_chain
from cloud_tools.release.repository import signed_targets
from cloud_tools.storage import Storage


def newest_releases(storage: Storage, root: bytes, now: float) -> dict[str, str]:
    """Return the version of each model's release with the highest number.

    Args:
        storage: the repository.
        root: its pinned root.json.
        now: epoch seconds.

    Raises:
        CloudError: NOT_FOUND, SIGNATURE_INVALID or METADATA_EXPIRED.
    """
    found: dict[str, tuple[int, str]] = {}
    for target in signed_targets(read_chain(storage, root, now)).values():
        facts = target.custom
        if "model" in facts:
            told = (int(facts["release_seq"]), str(facts["version"]))
            found[str(facts["model"])] = max(told, found.get(str(facts["model"]), told))
    return {model: version for model, (_, version) in found.items()}
