"""Who may sign what, and how that changes: rotation, revocation, delegation of models to families.

A family is a delegated role, ``models-NAME``, that alone signs the releases of its models: its team
cannot sign another's. A change of the four top roles' keys is a new root, which waits for as many
signatures of the old and the new root keys as their thresholds ask for; a change of a family's keys is
signed by targets. What is being done is remembered: the same command again finishes what was cut off.
"""

from collections.abc import Callable, Collection, Sequence
from datetime import datetime
from pathlib import Path
from typing import Final, NamedTuple

from pydantic import TypeAdapter, ValidationError
from securesystemslib.signer import Key
from tuf.api.metadata import DelegatedRole, Delegations, Role, Root, Targets

from cloud_tools.errors import CloudError
from cloud_tools.release.chain import Chain
from cloud_tools.release.keys import ROLES, keyid_of, read_public
from cloud_tools.release.repository import Repository
from edge_agent.errors import Code
from edge_agent.formats import ModelName

FAMILY: Final = "models-"
# Devices refuse more: each is a file that every refresh looks after.
MAX_FAMILIES: Final = 64
_NAME: Final[TypeAdapter[str]] = TypeAdapter(ModelName)


class Signatory(NamedTuple):
    """One role.

    Attributes:
        role: its name.
        models: what it may sign of releases; empty: it signs metadata. ``*``: whatever no family signs.
        threshold: how many of its keys must sign.
        keyids: its keys.
        at_hand: those of them that lie here.
        expires: when its metadata does; None: it is not believed.
    """

    role: str
    models: tuple[str, ...]
    threshold: int
    keyids: tuple[str, ...]
    at_hand: tuple[str, ...]
    expires: datetime | None


def signatories(repository: Repository) -> list[Signatory]:
    """Return who may sign what, root first; no key is opened where its public part lies beside it.

    Raises:
        CloudError: as ``Repository.read``.
    """
    chain = repository.read()
    top = {"root": chain.root, "targets": chain.targets, "snapshot": chain.snapshot, "timestamp": chain.timestamp}
    found = [
        _signatory(repository, role, ("*",) * (role == Targets.type), chain.root.roles[role], signed.expires)
        for role, signed in top.items()
    ]
    for name, role in chain.delegations().items():
        signed = chain.delegated[name]
        expires = None if isinstance(signed, CloudError) else signed.expires
        found.append(_signatory(repository, name, models_of(role), role, expires))
    return found


def models_of(role: DelegatedRole) -> tuple[str, ...]:
    """Return the models that a family signs."""
    return tuple(path.partition("/")[0] for path in role.paths or ())


def rotate(repository: Repository, role: str, *, public: Sequence[Path] = ()) -> list[str]:
    """Give ``role`` new keys, as many as it had; the old ones are trusted no more.

    Args:
        repository: opened for signing.
        role: one of the four top roles, or a family.
        public: public parts of keys that were made elsewhere; none: keys are made where the old ones lie.

    Returns:
        What still lacks, in words, until the new root is published; empty: done.

    Raises:
        CloudError: INVALID_ARGUMENT (no such role), FAILED_PRECONDITION (another change waits), and as
            ``Repository.commit``.
    """
    what = f"rotate {role}"
    done = _resume(repository, what)
    if done is not None:
        return done
    chain = repository.begin()
    if role in ROLES:
        old = list(chain.root.roles[role].keyids)
        return _change_root(repository, chain, what, {role: (old, _made(repository, role, old, public))})
    if role not in chain.delegations():
        expected = ", ".join([*ROLES, *chain.delegations()])
        raise CloudError(Code.INVALID_ARGUMENT, f"expected one of {expected}, came {role!r}")
    old = list(chain.delegations()[role].keyids)
    _change_family(repository, chain, role, old, _made(repository, role, old, public))
    return []


def revoke_key(repository: Repository, keyid: str, *, public: Sequence[Path] = ()) -> list[str]:
    """Trust a key no more, wherever it may sign; a new one takes its place, so that thresholds stay.

    Args:
        repository: opened for signing.
        keyid: the key, or the beginning of its id.
        public: the public part of a key that was made elsewhere.

    Returns:
        As ``rotate``.

    Raises:
        CloudError: NOT_FOUND (no role names it), INVALID_ARGUMENT (it begins more than one), and as ``rotate``.
    """
    what = f"revoke {keyid}"
    done = _resume(repository, what)
    if done is not None:
        return done
    chain = repository.begin()
    roles = {**{role: chain.root.roles[role] for role in ROLES}, **chain.delegations()}
    known = {key for role in roles.values() for key in role.keyids if key.startswith(keyid)}
    if len(known) != 1:
        code = Code.INVALID_ARGUMENT if known else Code.NOT_FOUND
        raise CloudError(code, f"expected the id of a key that may sign, came {keyid!r}, which begins {len(known)}")
    old = list(known)
    named = [role for role, keys in roles.items() if old[0] in keys.keyids]
    for family in [role for role in named if role not in ROLES]:
        _change_family(repository, chain, family, old, _made(repository, family, old, public))
        chain = repository.begin()
    top = {role: (old, _made(repository, role, old, public)) for role in named if role in ROLES}
    return _change_root(repository, chain, what, top) if top else []


def delegate(
    repository: Repository, family: str, models: Collection[str], *, threshold: int = 1, directory: Path | None = None
) -> DelegatedRole:
    """Let a family of models be signed by keys of its own, and only by those from now on.

    Args:
        repository: opened for signing, with the key of targets.
        family: its name, without ``models-``.
        models: what it signs; more than before adds to it. What is published of them is handed over.
        threshold: how many of its keys must sign; as many are made when it is new.
        directory: where they are made; None: beside the others.

    Raises:
        CloudError: INVALID_ARGUMENT, ALREADY_EXISTS (another family signs a model), and as ``Repository.commit``.
    """
    _check_names(family, models)
    name = FAMILY + family
    chain = repository.begin()
    _check_free(chain, name, models)
    if name not in chain.delegations():
        _found(repository, chain, name, threshold, directory)
    role = chain.delegations()[name]
    role.paths = [f"{model}/*/manifest.json" for model in sorted({*models_of(role), *models})]
    own = chain.signed_by(name).targets
    for path in [path for path in chain.targets.targets if role.is_delegated_path(path)]:
        own[path] = chain.targets.targets.pop(path)
    repository.commit(chain, {Targets.type, name})
    return role


def undelegate(repository: Repository, family: str) -> tuple[str, ...]:
    """Let targets sign a family's models again, and hand over what is published of them; return the models.

    Raises:
        CloudError: NOT_FOUND (no such family), SIGNATURE_INVALID (what it signed is not believed), and as
            ``Repository.commit``.
    """
    name = FAMILY + family
    chain = repository.begin()
    role = chain.delegations().get(name)
    if role is None or chain.targets.delegations is None:
        raise CloudError(Code.NOT_FOUND, f"expected a family that signs models, came {family!r}")
    own = chain.signed_by(name).targets
    chain.targets.targets.update({path: file for path, file in own.items() if role.is_delegated_path(path)})
    for keyid in list(role.keyids):
        chain.targets.revoke_key(keyid, name)
    # The snapshot goes on naming it: a name that vanishes is what a rollback looks like (TUF 1.0 §5.5.5).
    (chain.targets.delegations.roles or {}).pop(name)
    repository.commit(chain, {Targets.type})
    return models_of(role)


def _signatory(
    repository: Repository, name: str, models: tuple[str, ...], role: Role, expires: datetime | None
) -> Signatory:
    here = {keyid_of(file.path) for file in repository.keys.files(name)}
    at_hand = tuple(keyid for keyid in role.keyids if keyid in here)
    return Signatory(name, models, role.threshold, tuple(role.keyids), at_hand, expires)


def _resume(repository: Repository, what: str) -> list[str] | None:
    """Finish the same change where it was cut off; None when there is none."""
    waiting = repository.pending_upload.what
    if waiting is not None:
        repository.pending_upload.finish(repository.storage)
        return [] if waiting == what else None
    return repository.advance() if repository.pending_root.what == what else None


def _made(repository: Repository, role: str, old: Sequence[str], public: Sequence[Path]) -> list[Key]:
    """Return as many new keys as ``old`` has, each where the one that it replaces lies."""
    if public:
        if len(public) != len(old):
            raise CloudError(Code.INVALID_ARGUMENT, f"{role}: expected {len(old)} public keys, came {len(public)}")
        return [read_public(path) for path in public]
    demo = bool(repository.read().root.unrecognized_fields.get("demo"))
    places = {keyid_of(file.path): file.path.parent for file in repository.keys.files(role)}
    return [repository.keys.add(role, demo=demo, directory=places.get(keyid)).public_key for keyid in old]


def _change_root(
    repository: Repository, chain: Chain, what: str, changes: dict[str, tuple[list[str], list[Key]]]
) -> list[str]:
    root = Root.from_dict(chain.root.to_dict())
    root.version += 1
    root.expires = repository.expiry("root")
    for role, (old, new) in changes.items():
        _exchange(root.revoke_key, root.add_key, role, old, new)
    repository.pending_root.begin(root, what)
    return repository.advance()


def _change_family(repository: Repository, chain: Chain, name: str, old: list[str], new: list[Key]) -> None:
    _exchange(chain.targets.revoke_key, chain.targets.add_key, name, old, new)
    # What a family signed that is not believed (its metadata is broken) is beyond mending here.
    chain.signed_by(name)
    repository.commit(chain, {Targets.type, name})


def _exchange(
    revoke: Callable[[str, str], None], add: Callable[[Key, str], None], role: str, old: list[str], new: list[Key]
) -> None:
    for keyid in old:
        revoke(keyid, role)
    for key in new:
        add(key, role)


def _check_names(family: str, models: Collection[str]) -> None:
    try:
        for name in (family, *models):
            _NAME.validate_python(name)
    except ValidationError as exc:
        reason = exc.errors()[0]["msg"]
        raise CloudError(
            Code.INVALID_ARGUMENT, f"expected names like those of models, came {name!r}: {reason}"
        ) from exc


def _check_free(chain: Chain, name: str, models: Collection[str]) -> None:
    families = chain.delegations()
    for other, role in families.items():
        shared = sorted({*models_of(role)} & {*models})
        if other != name and shared:
            raise CloudError(Code.ALREADY_EXISTS, f"expected models that no family signs, {other} signs {shared[0]}")
    if name not in families and len(families) >= MAX_FAMILIES:
        raise CloudError(Code.RESOURCE_EXHAUSTED, f"expected at most {MAX_FAMILIES} families, there are as many")


def _found(repository: Repository, chain: Chain, name: str, threshold: int, directory: Path | None) -> None:
    if threshold < 1:
        raise CloudError(Code.INVALID_ARGUMENT, f"expected a threshold of at least 1, came {threshold}")
    demo = bool(chain.root.unrecognized_fields.get("demo"))
    present = repository.keys.signers(name) if repository.keys.files(name) else []
    while len(present) < threshold:
        present.append(repository.keys.add(name, demo=demo, directory=directory))
    if chain.targets.delegations is None:
        chain.targets.delegations = Delegations({}, {})
    roles = chain.targets.delegations.roles
    if roles is None:
        raise CloudError(Code.FAILED_PRECONDITION, "expected delegations by name, targets delegates by hash")
    # Terminating: what this role did not sign, no later one may.
    roles[name] = DelegatedRole(name, [], threshold, terminating=True, paths=[])
    for signer in present:
        chain.targets.add_key(signer.public_key, name)
    # A family of this name that was given up may have counted before.
    before = chain.snapshot.meta.get(f"{name}.json")
    empty = Targets()
    empty.version = before.version if before else 0
    chain.delegated[name] = empty
