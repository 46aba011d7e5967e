"""Changes that a document's reader must stand: of its structure, and of its bytes."""

import json
import random
from typing import Any

_ODD: tuple[Any, ...] = (
    None, True, False, 0, -1, 1, 2**31, 2**53, 2**63, -(2**63), 2**64, 10**40, 0.0, -0.0, 1e308, 1e-320, float("inf"),
    float("-inf"), float("nan"), "", " ", "0", "1", "é", "\0", "\ud800", "../x", "a/../../b", "/etc/passwd", "C:\\x",
    "a" * 5000, "1." * 300 + "1", "9" * 5000, "nan", "2027-01-15T08:00:00Z", "9999-12-31T23:59:59+99:99", [], [[]], {},
    {"": ""}, [None], [0] * 300,
)  # fmt: skip
_NESTED = 200


def mutate(content: bytes, rng: random.Random) -> bytes:
    """Return the content, changed in one to four places."""
    for _ in range(rng.randint(1, 4)):
        content = _structure(content, rng) if rng.random() < 0.7 else _bytes(content, rng)  # noqa: PLR2004
    return content


def _structure(content: bytes, rng: random.Random) -> bytes:
    # What is no document by itself may have one behind its first byte, which says whose it is.
    for head in (b"", content[:1]):
        try:
            document = json.loads(content[len(head) :])
        except (ValueError, RecursionError):
            continue
        changed = _changed(document, rng)
        return head + json.dumps(changed).encode("utf-8", "surrogatepass")
    return _bytes(content, rng)


def _changed(document: Any, rng: random.Random) -> Any:
    places = list(_places(document))
    if not places or rng.random() < 0.05:  # noqa: PLR2004
        return _value(document, rng)
    holder, key = rng.choice(places)
    choice = rng.randrange(4)
    if choice == 0:
        del holder[key]
    elif choice == 1 and isinstance(holder, dict):
        holder[rng.choice(["x", "", "__proto__", str(key) + "_"])] = holder[key]
    elif choice == 1:
        holder.extend(list(holder) * rng.randint(1, 20))
    else:
        holder[key] = _value(holder[key], rng)
    return document


def _places(node: Any) -> Any:
    waiting = [node]
    while waiting:
        holder = waiting.pop()
        keys = list(holder) if isinstance(holder, dict) else range(len(holder)) if isinstance(holder, list) else ()
        for key in keys:
            yield holder, key
            waiting.append(holder[key])


def _value(before: Any, rng: random.Random) -> Any:
    choice = rng.randrange(5)
    if choice == 0 and isinstance(before, (int, float)) and not isinstance(before, bool):
        return before * rng.choice([-1, 2, 0.5, 1e30]) + rng.choice([0, 1, -1])
    if choice == 1 and isinstance(before, str):
        return before + str(rng.choice(_ODD))[:80]
    if choice == 2:  # noqa: PLR2004
        nested: Any = before
        for _ in range(rng.choice([1, 3, _NESTED])):
            nested = [nested] if rng.random() < 0.5 else {"a": nested}  # noqa: PLR2004
        return nested
    return rng.choice(_ODD)


def _bytes(content: bytes, rng: random.Random) -> bytes:
    changed = bytearray(content or b"\0")
    for _ in range(rng.randint(1, 8)):
        at = rng.randrange(len(changed))
        choice = rng.randrange(5)
        if choice == 0:
            changed[at] ^= 1 << rng.randrange(8)
        elif choice == 1:
            changed[at] = rng.choice([0, 0x7F, 0x80, 0xFF, rng.randrange(256)])
        elif choice == 2:  # noqa: PLR2004
            changed[at:at] = bytes(rng.randrange(256) for _ in range(rng.randint(1, 8)))
        elif choice == 3:  # noqa: PLR2004
            end = rng.randint(at, len(changed))
            changed[at:at] = changed[at : min(end, at + 64)]
        else:
            del changed[at : at + rng.randint(1, 32)]
            changed = changed or bytearray(b"\0")
    return bytes(changed)
