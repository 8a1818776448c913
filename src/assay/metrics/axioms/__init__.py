"""Which axioms an explanation keeps, as gaps: how far it is from each, and the input that shows it.

An axiom speaks of all models; a check asks one question, and models made from its model in which the
axiom says what the answer has to be: one that ignores a feature, one that two features enter alike, a
sum of two, the same function written differently. A gap of 0 is no proof, and a gap is a
counterexample.

- `checking`: `check`, and what it finds
- `kinds`: one check for each axiom
- `derived_models`: the models that are made for them
- `methods_table`: every method of the library against every axiom, for the docs
"""

from assay.metrics.axioms.checking import Finding, Report, check
from assay.metrics.axioms.methods_table import page, table

__all__ = ["check", "Finding", "page", "Report", "table"]
