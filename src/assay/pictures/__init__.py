"""Pictures of answers, made without any drawing state.

- `images`: maps of credit and inputs as small PNG pictures
"""

from assay.pictures.images import Picture, credit_maps

__all__ = ["credit_maps", "Picture"]
