"""`python -m assay`: the command line without its script on the path."""

from assay.cli.app import app

app()
