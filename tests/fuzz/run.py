"""Runs seeds and prints their outcomes, one JSON a line: `python -m fuzz.run 0 100 [--verbose]`."""

from __future__ import annotations

import argparse
import json
import sys
import time
from dataclasses import asdict

import torch

from fuzz.situations import LIMIT, outcome, situate


def main() -> None:
    """Seeds from the command line: one, or from one to before another."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("first", type=int)
    parser.add_argument("stop", type=int, nargs="?")
    parser.add_argument("--limit", type=float, default=LIMIT)
    parser.add_argument(
        "--verbose", action="store_true", help="the situation, and exceptions raised"
    )
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.verbose:
        print(situate(options.first))
    for seed in range(options.first, options.stop or options.first + 1):
        start = time.process_time()
        # Said before, so that a crash of the process has a number.
        print(json.dumps({"starts": seed}), flush=True)
        ended = asdict(outcome(seed, options.limit))
        print(json.dumps({**ended, "seconds": round(time.process_time() - start, 4)}), flush=True)


if __name__ == "__main__":
    sys.exit(main())
