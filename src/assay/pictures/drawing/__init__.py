"""How a picture is put on paper: marks as plain numbers, and one renderer for each kind of paper.

A picture is a few panels, a panel two axes and marks in the units of its data. Neither renderer knows
what a picture means, and no picture knows how it is drawn: another picture is a function that fills
panels, and another kind of mark one case in each renderer.

- `marks`: boxes, lines, bands, dots, words, rasters, photographs
- `scales`: where values lie along an axis, and which colour they have
- `panel`: marks with their two axes
- `drawing`: what every picture can do, and the picture of some panels
- `on_axes`: marks on an axes of matplotlib
- `as_svg`: marks as SVG
- `row_chart`: the kind of picture with a name, a mark and a number in each row
- `kinds`: panels of one kind: a matrix, lines with bands
- `labels`: names and numbers as pictures write them
- `themes`: colours, handed along
"""
