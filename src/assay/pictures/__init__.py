"""Pictures of answers, made without any drawing state.

- `images`: maps of credit and inputs as small PNG pictures
- `overlay`: signed credit over the outline of a picture, as data
"""

from assay.pictures.images import Picture, credit_maps
from assay.pictures.overlay import SignedOverlay, signed_overlay

__all__ = ["credit_maps", "Picture", "signed_overlay", "SignedOverlay"]
