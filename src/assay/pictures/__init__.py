"""Pictures of answers: small frozen objects that hold what is drawn as numbers and words.

A picture is computed once and drawn anywhere: `draw(ax)` on an axes of matplotlib, `svg()` for pages
and notebooks, `data` as a table, `alt` in one sentence. pyplot is never imported, nothing of a
process is set, and the same answer gives the same marks.

- `credits`: credit of one input as a ladder or bars, importance over many
- `standings`: where methods stand by a metric, and their differences
- `row_chart`: the object behind these, with its renderers
- `labels`, `numbers`: names and numbers as pictures write them
- `themes`: colours, handed along
- `images`: maps of credit and inputs as small PNG pictures
- `overlay`: signed credit over the outline of a picture, as data
"""

from assay.pictures.credits import bars, importance, ladder
from assay.pictures.images import Picture, credit_maps
from assay.pictures.overlay import SignedOverlay, signed_overlay
from assay.pictures.row_chart import Row, RowChart
from assay.pictures.standings import differences, standing

__all__ = [
    "bars",
    "credit_maps",
    "differences",
    "importance",
    "ladder",
    "Picture",
    "Row",
    "RowChart",
    "signed_overlay",
    "SignedOverlay",
    "standing",
]
