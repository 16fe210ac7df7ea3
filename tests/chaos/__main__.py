"""``make chaos``: breaks a real Pointsman for a while, and says what came of it."""

import argparse
import random
import sys

from tests.chaos.storm import storm


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--seconds", type=float, default=120)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10**6))
    given = parser.parse_args()
    print(f"seed {given.seed}", flush=True)  # noqa: T201
    report = storm(given.seed, given.seconds)
    print("\n".join(report.lines()))  # noqa: T201
    return 0 if report.is_good else 1


if __name__ == "__main__":
    sys.exit(main())
