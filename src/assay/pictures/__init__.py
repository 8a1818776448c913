"""Pictures of answers, made without any drawing state.

- `images`: maps of credit and inputs as small PNG pictures
"""
