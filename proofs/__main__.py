"""`python -m proofs budget|portable|resume [--times N] [--seed N]`: what the service promises, shown on running processes."""

import argparse
import asyncio
import sys
import time

from proofs import budget, portable, resume

PROOFS = {"budget": (budget.run, 500), "portable": (portable.run, 20_000), "resume": (resume.run, 1_000)}


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m proofs", description=__doc__)
    parser.add_argument("proof", choices=PROOFS)
    parser.add_argument("--times", type=int, help="how many messages there are, or streams are cut")
    parser.add_argument("--seed", type=int, default=int(time.time()))
    options = parser.parse_args()
    run, usual = PROOFS[options.proof]
    print(f"seed {options.seed}", flush=True)
    print(asyncio.run(run(options.times or usual, options.seed)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
