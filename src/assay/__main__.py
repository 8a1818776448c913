"""`python -m assay`."""

from assay.cli import app

app()
