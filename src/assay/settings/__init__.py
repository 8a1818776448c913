"""Settings are checked by their annotations, here and for every class that has any.

A method, a metric, a removal, ... is a frozen dataclass of settings. Before its own `__post_init__`
compares a value with anything, the value is known to be of the kind that its annotation says: a
class then asks "is it positive?" and never "is it a number at all?". A subclass of a base does
nothing for it, here or in the code of others.

- `base`: the base of classes with settings
- `annotation`: what an annotation allows
- `names`: settings by name
- `arguments`: arguments of functions, checked alike
- `brief`: settings that are data, in a few words
- `refusal`: what a refused value is told
"""

from assay.settings.annotation import scalar
from assay.settings.arguments import argument, checked_level, checked_seed, with_defaults
from assay.settings.base import Named, Settings
from assay.settings.brief import short_repr
from assay.settings.refusal import has_length, shown

__all__ = [
    "argument",
    "checked_level",
    "checked_seed",
    "has_length",
    "Named",
    "scalar",
    "Settings",
    "short_repr",
    "shown",
    "with_defaults",
]
