"""What a method is: frozen settings and one pure function `Question -> Attribution`.

- `method`: `Method`, which does everything around `values`, once for all
- `estimate`: what a method promises (`Axiom`), and what it says of a shard (`Estimate`)
- `pairs`: features in pairs, where interactions are what is given
- `joining`: answers of shards and of groups of inputs, joined into one
"""

from assay.methods.base.estimate import Axiom, Estimate
from assay.methods.base.method import Method, able_methods, declared

__all__ = ["able_methods", "Axiom", "declared", "Estimate", "Method"]
