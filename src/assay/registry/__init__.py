"""Everything by name.

- `settings`: settings as text, read without evaluating code
- `tables`: what there is, for a terminal and for the docs
- `sources`: predictors and data by address
"""

from assay.registry.settings import parse
from assay.registry.tables import Catalogue

__all__ = ["Catalogue", "parse"]
