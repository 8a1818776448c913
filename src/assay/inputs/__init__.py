"""Whatever is handed in, as flat rows and back.

Inside a question every input is one row of a matrix; a `Layout` folds rows back into what the
predictor takes.

- `layout`: the base of all layouts, and the context that travels beside the inputs (`Aligned`, `Shared`)
- `arrays`: whatever holds numbers as one plain tensor, and the refusal of what only looks like it
- `containers`: what is easily made an array or a table, and is refused with the line that does it
- `number_types`: which type holds the numbers of several tensors exactly
- `names`: names of elements, made when they are asked for
- `places`: which axes of an input are places, and which one holds its channels
- `tensors`: one tensor or several, and NumPy arrays
- `tables`: data frames, in the kind of table that the predictor was fitted on
- `columns`: a column of numbers, dates, durations or periods as floats, and back
- `levels`: the values of a category, each with a number that it keeps
- `spreads`: the spread of each column, as a unit for noise and radii
- `texts`: strings, one feature a word
- `segmentation`: where the words of a text begin and end, in any script
- `reading`: which of them suits what was handed in

May be subclassed: `Layout`.
"""

from assay.inputs.layout import Aligned, Layout, Shared
from assay.inputs.tables import TableLayout
from assay.inputs.tensors import TensorLayout
from assay.inputs.texts import TextLayout

__all__ = ["Aligned", "Layout", "Shared", "TableLayout", "TensorLayout", "TextLayout"]
