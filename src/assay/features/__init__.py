"""Who receives credit: every kind is one partition of the flat input.

- `partition`: labels of the flat elements, and what masks and credit become under them
- `elements`: each element, columns with groups, any label map
- `images`: pixels over their channels, square patches
- `superpixels`: SLIC segments (needs the extra `images`)
- `words`: the words of a text
- `tokens`: the tokens of a tokenizer's numbers
- `token_words`: the words that tokens are pieces of
- `molecules`: the atoms and bonds of molecules, or the nodes and edges of any graph
- `inherited`: behind a layer, the features before it

May be subclassed: `Features`.
"""

from assay.features.elements import Columns, Elements, Labels
from assay.features.images import Patches, Pixels
from assay.features.inherited import Inherited
from assay.features.molecules import Atoms
from assay.features.partition import Features, Partition
from assay.features.superpixels import Superpixels
from assay.features.token_words import TokenWords
from assay.features.tokens import Tokens
from assay.features.words import Words

__all__ = [
    "Atoms",
    "Columns",
    "Elements",
    "Features",
    "Inherited",
    "Labels",
    "Partition",
    "Patches",
    "Pixels",
    "Superpixels",
    "Tokens",
    "TokenWords",
    "Words",
]
