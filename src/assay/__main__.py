"""`python -m assay`."""

from assay.cli.app import app

app()
