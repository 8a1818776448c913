"""Everything by name.

- `settings`: settings as text, read without evaluating code
- `aliases`: names from papers and other libraries, and what answers them here
- `registration`: a method or metric of your own, by hand (installed ones: `assay.extensions`)
- `parts`: the parts of a question as text
- `tables`: what there is, for a terminal and for the docs
- `sources`: predictors and data by address; `model_files`, `data_files`: what each ending means
- `onnx_models`, `keras_models`, `hugging_face`: files and folders that need a package of their own;
  `optional_packages`: how such a package is asked for
- `command_models`: programs in any language as predictors
"""

from assay.registry.registration import register
from assay.registry.settings import parse
from assay.registry.tables import Catalogue

__all__ = ["Catalogue", "parse", "register"]
