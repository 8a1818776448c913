"""What opens in a browser.

- `report_page`: one self-contained page about a comparison
- `strips`: intervals as numbers, for a page to draw
"""

from assay.pages.report_page import report

__all__ = ["report"]
