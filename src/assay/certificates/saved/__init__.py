"""Certificates as files.

- `evidence`: the input of a certificate, in a form that can be saved and asked again
- `reading`: a saved certificate, checked field by field
"""

from assay.certificates.saved.evidence import Evidence

__all__ = ["Evidence"]
