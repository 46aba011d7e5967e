"""``python -m scripts.benchlib.unmeasured PART``: the fields of a part that is not measured yet, each null."""

import json
import sys

FIELDS: dict[str, tuple[str, ...]] = {"fleet": ()}


def main(part: str) -> int:
    """Print the part's fields and say on stderr that nothing was measured."""
    sys.stderr.write(f"bench {part}: not measured yet\n")
    print(json.dumps(dict.fromkeys(FIELDS[part])))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
