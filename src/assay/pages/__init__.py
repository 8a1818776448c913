"""What opens in a browser.

- `report_page`: one self-contained page about a comparison
- `strips`: intervals as numbers, for a page to draw

`report_page` is over 500 lines: the page's data, part by part in the order of the page.
"""

from assay.pages.report_page import report

__all__ = ["report"]
