"""Runs seeds and prints their outcomes, one JSON a line: `python -m fuzz_tables.run 0 100 [--verbose]`."""

from __future__ import annotations

import argparse
import json
import sys
import time
from dataclasses import asdict

import torch

from fuzz_tables.outcomes import Outcome
from fuzz_tables.situations import LIMIT, outcome, situate


def main() -> None:
    """Seeds from the command line: one, or from one to before another."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("first", type=int)
    parser.add_argument("stop", type=int, nargs="?")
    parser.add_argument("--limit", type=float, default=LIMIT)
    parser.add_argument("--verbose", action="store_true", help="the situation in full")
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.verbose:
        print(situate(options.first))
    for seed in range(options.first, options.stop or options.first + 1):
        start = time.process_time()
        # Said before, so that a crash of the process has a number.
        print(json.dumps({"starts": seed}), flush=True)
        ended: Outcome = outcome(seed, options.limit)
        seconds = round(time.process_time() - start, 4)
        print(json.dumps({**asdict(ended), "seconds": seconds}), flush=True)


if __name__ == "__main__":
    sys.exit(main())
