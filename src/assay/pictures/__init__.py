"""Pictures of answers: small frozen objects that hold what is drawn as numbers and words.

A picture is computed once and drawn anywhere: `draw(ax)` on an axes of matplotlib, `svg()` for pages
and notebooks, `data` as a table, `alt` in one sentence. pyplot is never imported, nothing of a
process is set, and the same answer gives the same marks.

- `credits`: credit of one input as a ladder or bars, importance over many
- `maps`: credit of pictures beside the photograph, and over it
- `texts`: credit of words where they stand
- `graphs`: credit of the atoms and bonds of molecules
- `many`: credit over many inputs: swarm, dependence, heat map, groups, drift, embedding
- `lines`: masking curves, reliability, convergence, series, other values of a feature
- `matrices`: pairs of features, methods, tokens
- `standings`: where methods stand by a metric, and their differences
- `judging`: two answers beside each other, faithfulness, stability
- `proofs`: certificates: radii, votes, curves
- `described`: how answers are told: units, methods, errors
- `drawing`: marks, panels, and the renderers
- `numbers`: numbers as a page writes them
- `images`: maps of credit and inputs as small PNG pictures
- `overlay`: signed credit over the outline of a picture, as data
"""

from assay.pictures.credits import bars, importance, ladder
from assay.pictures.drawing.drawing import Chart, Drawing
from assay.pictures.drawing.row_chart import Row, RowChart
from assay.pictures.graphs import molecule
from assay.pictures.images import Picture, credit_maps
from assay.pictures.judging import duel, faithfulness, stability
from assay.pictures.lines import convergence, curves, reliability, series, what_if
from assay.pictures.many.dependence import dependence
from assay.pictures.many.drift import drift
from assay.pictures.many.embedding import embedding
from assay.pictures.many.groups import groups
from assay.pictures.many.heat import heat
from assay.pictures.many.swarm import swarm
from assay.pictures.maps import contours, image_map, retina
from assay.pictures.matrices import agreement, interactions, tokens
from assay.pictures.overlay import SignedOverlay, signed_overlay
from assay.pictures.proofs import certified_curve, radius, selection, soft_stability, votes
from assay.pictures.standings import differences, standing
from assay.pictures.texts import words

__all__ = [
    "agreement",
    "bars",
    "certified_curve",
    "Chart",
    "contours",
    "convergence",
    "credit_maps",
    "curves",
    "dependence",
    "differences",
    "Drawing",
    "drift",
    "duel",
    "embedding",
    "faithfulness",
    "groups",
    "heat",
    "image_map",
    "importance",
    "interactions",
    "ladder",
    "molecule",
    "Picture",
    "radius",
    "reliability",
    "retina",
    "Row",
    "RowChart",
    "selection",
    "series",
    "signed_overlay",
    "SignedOverlay",
    "soft_stability",
    "stability",
    "standing",
    "swarm",
    "tokens",
    "votes",
    "what_if",
    "words",
]
