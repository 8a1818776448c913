"""What `import assay` takes beyond `import torch`: medians over fresh processes, in turn."""

from __future__ import annotations

import statistics

import harness

# The first name that is used loads the rest of assay.
CHILD = "import time; start = time.perf_counter(); {code}; print(time.perf_counter() - start)"
CODE = {"torch": "import torch", "assay": "import assay; assay.Question"}


def main() -> None:
    bench = harness.Bench("import", harness.arguments(__doc__))
    repeats = 1 if bench.options.quick else 7
    names = ["torch"] if bench.options.peers else ["torch", "assay"]
    for name in names:  # one untimed process each, to have the files in memory
        harness.child(CHILD.format(code=CODE[name]))
    times = [
        [float(harness.child(CHILD.format(code=CODE[name]))) for name in names]
        for _ in range(repeats)
    ]
    torch, *ours = (statistics.median(column) for column in zip(*times))
    extra = statistics.median(row[-1] - row[0] for row in times) if ours else float("nan")
    assay = ours[0] if ours else float("nan")
    bench.keep(
        harness.Result(
            "import, seconds beyond torch",
            "import torch",
            assay,
            torch,
            extra,
            0.3,
            "s",
            f"{repeats} fresh processes each",
        )
    )
    bench.save()


if __name__ == "__main__":
    main()
