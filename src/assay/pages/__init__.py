"""What opens in a browser.

- `report_page`: one self-contained page about a comparison
- `cards`: how nouns show themselves in a notebook
- `terminal`: how they show themselves in a terminal, by rich
- `credit`: maps, bars and sentences, input by input
- `explained`: which number was explained, with the label of its class
- `strips`: intervals as numbers, for a page to draw
- `telling`: which inputs are shown of many
- `soundness`: what answers cost, what was refused, what is proven, and how far to trust it
"""

from assay.pages.report_page import report

__all__ = ["report"]
