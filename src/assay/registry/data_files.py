"""Inputs from files: arrays, tables, texts and pictures, by the ending of the name.

Nothing is unpickled: a file of data cannot run code. `Reading` says which rows and columns of it are
meant.
"""

from __future__ import annotations

import ast
import operator
import re
import sys
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, final

import numpy as np
import torch

from assay.errors import AssayError, InputError, KindError

if TYPE_CHECKING:
    from numpy.typing import NDArray

PICTURES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff")

_ARRAYS = (".npy", ".npz", ".safetensors")
_TABLES = (".csv", ".tsv", ".parquet", ".feather", ".json", ".jsonl")
READABLE = (*_ARRAYS, *_TABLES, ".txt")

_OPERATORS: Mapping[str, Callable[[Any, Any], Any]] = {
    "<=": operator.le,
    ">=": operator.ge,
    "==": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    ">": operator.gt,
}


@final
@dataclass(frozen=True)
class Reading:
    """Which part of a file is meant, and how it is read.

    Settings:
        rows: such as "0:16", counted from 0; "7" is one row.
        where: such as "age > 40": a column, an operator, and a number or a text.
        sample: so many rows, drawn by the seed and left in their order.
        columns: those that are kept, in this order; all where none is named.
        drop: those that are left out.
        index_column: the one that numbers the rows, and is no input.
        categories: those whose numbers are names of categories.
        resize: pictures become (height, width), such as "224x224".
        mean: what is taken from each channel of a picture, such as "0.485,0.456,0.406".
        std: what each channel is divided by then.
        whole: whether a text file is one text, and not one a line.
        format: the ending that standard input would have.
    """

    rows: str | None = None
    where: str | None = None
    sample: int | None = None
    columns: tuple[str, ...] = ()
    drop: tuple[str, ...] = ()
    index_column: str | None = None
    categories: tuple[str, ...] = ()
    resize: str | None = None
    mean: str | None = None
    std: str | None = None
    whole: bool = False
    format: str | None = None


def inputs(path: Path, reading: Reading | None = None, seed: int = 0) -> Any:
    """What a file or folder holds, by its ending; `-` is standard input.

    `.npy`, `.npz` and `.safetensors` give tensors (several in the order of their names), `.csv`,
    `.tsv`, `.parquet`, `.feather`, `.json` and `.jsonl` a DataFrame, `.txt` a list of texts, pictures
    and folders of them a tensor (n, channels, height, width) in [0, 1].

    Errors: InputError and KindError for what cannot be read, before any model is asked.
    """
    reading = reading or Reading()
    found = _some_columns(_read_any(path, reading), reading, path)
    return _taken(found, _kept(found, reading, path, seed))


def _read_any(path: Path, reading: Reading) -> Any:
    if str(path) == "-":
        return _from_stdin(reading)
    return _read(path, reading)


def _from_stdin(reading: Reading) -> Any:
    ending = f".{(reading.format or '').removeprefix('.')}"
    if ending not in READABLE:
        raise InputError(
            expected=f"--format for standard input, one of {', '.join(READABLE)}",
            got=repr(reading.format),
            advice="Say what is coming: --format csv.",
        )
    with tempfile.TemporaryDirectory() as folder:
        # Readers want a file: some look at its end first.
        file = Path(folder) / f"standard input{ending}"
        file.write_bytes(sys.stdin.buffer.read())
        return _read(file, reading)


def _read(path: Path, reading: Reading) -> Any:
    if path.is_dir():
        return _folder(path, reading)
    if path.suffix not in (*READABLE, *PICTURES):
        raise InputError(
            expected=(
                f"inputs in a file that ends in {', '.join(READABLE)}, a picture, or a folder of "
                "pictures or texts"
            ),
            got=repr(path.name),
            advice="Save them first: numpy.save, to_csv or safetensors.torch.save_file.",
        )
    if not path.is_file():
        raise InputError(
            expected=f"inputs in {path}",
            got="no file there",
            advice=f"Give a path from {Path.cwd()}, or a whole one.",
        )
    if path.suffix in PICTURES:
        return _pictures([path], reading)
    if path.suffix == ".txt":
        return _texts(path, reading.whole)
    if path.suffix in _TABLES:
        return _table(path)
    try:
        tensors = _tensors(path)
    except AssayError:
        raise
    # NumPy, zipfile and torch each have exceptions of their own for a damaged file.
    except Exception as error:
        raise InputError(
            expected=f"arrays of numbers in {path}",
            got=f"what cannot be read: {error}",
            advice="Save it again as plain numbers: objects and pickles are not read.",
        ) from error
    # A model with one input takes a tensor, one with several takes them in order.
    if len(tensors) == 1:
        return tensors[0]
    return tensors


# --- tables and texts


def _table(path: Path) -> Any:
    try:
        frame = _TABLE_READERS[path.suffix](path)
    except ImportError as error:
        raise InputError(
            expected=f"a package that reads {path.suffix}",
            got="neither pyarrow nor polars",
            advice="Install one: pip install pyarrow.",
        ) from error
    # Empty, binary or ragged: exceptions of pandas, of Arrow and of Python's decoder.
    except Exception as error:
        raise InputError(
            expected=f"a table with column names in {path}",
            got=f"what cannot be read: {' '.join(str(error).split())[:300]}",
            advice="Write it by DataFrame.to_csv(path, index=False): one line a row, in UTF-8.",
        ) from error
    if not len(frame) or not len(frame.columns):
        raise InputError(
            expected=f"rows under the column names of {path}",
            got="none",
            advice="Add a line for each input.",
        )
    return frame


def _csv(path: Path) -> Any:
    import pandas as pd

    separators = {".csv": ",", ".tsv": "\t"}
    return pd.read_csv(path, sep=separators[path.suffix])


def _records(path: Path) -> Any:
    import pandas as pd

    return pd.read_json(path, orient="records", lines=path.suffix == ".jsonl")


def _arrow(path: Path) -> Any:
    import pandas as pd

    parquet = path.suffix == ".parquet"
    try:
        if parquet:
            return pd.read_parquet(path)
        return pd.read_feather(path)
    # Without pyarrow: polars has readers of its own.
    except ImportError:
        import polars as pl

        frame = pl.read_parquet(path) if parquet else pl.read_ipc(path)
        return pd.DataFrame({name: frame[name].to_list() for name in frame.columns})


_TABLE_READERS: Mapping[str, Callable[[Path], Any]] = {
    ".csv": _csv,
    ".tsv": _csv,
    ".json": _records,
    ".jsonl": _records,
    ".parquet": _arrow,
    ".feather": _arrow,
}


def _texts(path: Path, whole: bool) -> list[str]:
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (UnicodeDecodeError, OSError) as error:
        raise InputError(
            expected=f"text in {path}",
            got=str(error),
            advice="Save it in UTF-8.",
        ) from error
    lines = text.splitlines()
    if whole:
        lines = [text]
    texts = [line.strip() for line in lines if line.strip()]
    if not texts:
        raise InputError(
            expected=f"a text in {path}",
            got="none",
            advice="Write one text a line.",
        )
    return texts


# --- arrays


def _tensors(path: Path) -> tuple[torch.Tensor, ...]:
    if path.suffix == ".safetensors":
        return _safetensors(path)
    return _numpy(path)


def _safetensors(path: Path) -> tuple[torch.Tensor, ...]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        by_name = load_file(str(path))
    # A class of its own, outside the family of ValueError.
    except SafetensorError as error:
        raise ValueError(str(error)) from error
    return tuple(by_name[name] for name in sorted(by_name))


def _numpy(path: Path) -> tuple[torch.Tensor, ...]:
    # Opened into memory as it is: a header may claim more than the file holds.
    archive = np.load(path, allow_pickle=False, mmap_mode="r" if path.suffix == ".npy" else None)
    # An .npy file is one array, an .npz file a mapping of several, read one by one.
    arrays = [archive]
    if not isinstance(archive, np.ndarray):
        arrays = [archive[name] for name in sorted(archive)]
    # Text arrays are not pickled, and would pass: torch would refuse them in its own words.
    if not all(_holds_numbers(array) for array in arrays):
        raise KindError(
            expected=f"arrays of numbers in {path}",
            got=", ".join(str(array.dtype) for array in arrays),
            advice="Save numbers, or a table with text columns as .csv.",
        )
    return tuple(torch.from_numpy(np.array(array)) for array in arrays)


def _holds_numbers(array: NDArray[Any]) -> bool:
    real = np.issubdtype(array.dtype, np.integer) or np.issubdtype(array.dtype, np.floating)
    return bool(real or array.dtype == np.bool_)


# --- pictures and folders


def _folder(path: Path, reading: Reading) -> Any:
    # By name, subfolders after one another: the same order on every machine.
    files = sorted(each for each in path.rglob("*") if each.is_file())
    pictures = [each for each in files if each.suffix.lower() in PICTURES]
    texts = [each for each in files if each.suffix == ".txt"]
    if pictures and not texts:
        return _pictures(pictures, reading)
    if texts and not pictures:
        return [text for each in texts for text in _texts(each, whole=True)]
    raise InputError(
        expected=f"a folder of pictures ({', '.join(PICTURES)}) or of texts (.txt) in {path}",
        got=f"{len(pictures)} pictures and {len(texts)} texts",
        advice="Give a folder that holds one kind.",
    )


def _pictures(files: list[Path], reading: Reading) -> torch.Tensor:
    size = None if reading.resize is None else _size(reading.resize)
    arrays = [_picture(file, size) for file in files]
    shapes = sorted({array.shape[:2] for array in arrays})
    if len(shapes) > 1:
        shown = ", ".join(f"{height}x{width}" for height, width in shapes[:5])
        raise InputError(
            expected="pictures of one size",
            got=shown,
            advice=f"Give it: --resize {shapes[0][0]}x{shapes[0][1]}.",
        )
    # Grey ones beside coloured ones are coloured, too.
    if len({array.ndim for array in arrays}) > 1:
        arrays = [np.broadcast_to(_with_channels(each), (*each.shape[:2], 3)) for each in arrays]
    stacked = np.stack([_with_channels(array) for array in arrays])
    pixels = torch.from_numpy(np.moveaxis(stacked, -1, 1).astype(np.float32) / 255)
    return _standardised(pixels, reading)


def _with_channels(picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """(height, width, channels), also of a grey picture."""
    return picture.reshape(*picture.shape[:2], -1)


def _size(text: str) -> tuple[int, int]:
    found = re.fullmatch(r"([1-9][0-9]{0,4})x([1-9][0-9]{0,4})", text.strip())
    if found is None:
        raise InputError(
            expected="a size as HEIGHTxWIDTH",
            got=repr(text),
            advice="Write --resize 224x224.",
        )
    return int(found[1]), int(found[2])


def _picture(file: Path, size: tuple[int, int] | None) -> NDArray[np.uint8]:
    from PIL import Image, ImageOps

    try:
        with Image.open(file) as opened:
            # Cameras write how they were held into the file.
            picture = ImageOps.exif_transpose(opened)
            picture = picture.convert("L" if picture.mode in ("1", "L", "I", "F") else "RGB")
    except Exception as error:
        raise InputError(
            expected=f"a picture in {file}",
            got=f"what cannot be read: {error}",
            advice="Save it again, as .png or .jpg.",
        ) from error
    if size is not None:
        picture = picture.resize((size[1], size[0]), Image.Resampling.BILINEAR)
    return np.asarray(picture)


def _standardised(pixels: torch.Tensor, reading: Reading) -> torch.Tensor:
    for name, text, apply in (
        ("mean", reading.mean, torch.sub),
        ("std", reading.std, torch.div),
    ):
        if text is not None:
            numbers = _numbers(name, text, pixels.shape[1])
            pixels = apply(pixels, torch.tensor(numbers).reshape(1, -1, 1, 1))
    return pixels


def _numbers(name: str, text: str, channels: int) -> list[float]:
    try:
        numbers = [float(part) for part in text.split(",")]
    except ValueError:
        numbers = []
    allowed = all(np.isfinite(numbers)) and not (name == "std" and min(numbers, default=0) <= 0)
    if len(numbers) not in (1, channels) or not allowed:
        raise InputError(
            expected=f"--{name} as one number, or one for each of {channels} channels",
            got=repr(text),
            advice=f"Write --{name} 0.5.",
        )
    return numbers


# --- some of it


def _some_columns(found: Any, reading: Reading, path: Path) -> Any:
    asked = {
        "--columns": reading.columns,
        "--drop": reading.drop,
        "--category": reading.categories,
        "--index-column": () if reading.index_column is None else (reading.index_column,),
    }
    named = {option: names for option, names in asked.items() if names}
    if not named:
        return found
    if not hasattr(found, "columns"):
        raise InputError(
            expected=f"a table in {path} for {', '.join(named)}",
            got=f"a {path.suffix} file",
            advice="Columns have names in tables alone: leave these options out.",
        )
    for option, names in named.items():
        _check_columns(found, option, names, path)
    if reading.index_column is not None:
        found = found.set_index(reading.index_column)
    if reading.columns:
        found = found[list(reading.columns)]
    found = found.drop(columns=list(reading.drop), errors="ignore")
    return found.astype({name: "category" for name in reading.categories if name in found.columns})


def _check_columns(frame: Any, option: str, names: tuple[str, ...], path: Path) -> None:
    unknown = [name for name in names if name not in frame.columns]
    if unknown:
        raise InputError(
            expected=f"columns of {path} for {option}",
            got=", ".join(map(repr, unknown)),
            advice=f"It has: {', '.join(map(str, frame.columns))}.",
        )


def _kept(found: Any, reading: Reading, path: Path, seed: int) -> NDArray[np.int64]:
    """The numbers of the rows that are meant, in their order."""
    n = _rows_of(found)
    kept = np.arange(n)
    if reading.where is not None:
        kept = kept[_matching(found, reading.where, path)]
    if reading.rows is not None:
        kept = kept[_slice(reading.rows)]
    if reading.sample is not None:
        kept = _sampled(kept, reading.sample, seed)
    if not len(kept):
        raise InputError(
            expected=f"a row of {path}",
            got="none that is left",
            advice=f"It has {n} rows: ask for others.",
        )
    return kept


def _rows_of(found: Any) -> int:
    # Several tensors share their rows.
    if isinstance(found, tuple):
        return len(found[0])
    return len(found)


def _sampled(kept: NDArray[np.int64], sample: int, seed: int) -> NDArray[np.int64]:
    if sample < 1:
        raise InputError(
            expected="at least one row of --sample",
            got=sample,
            advice="Leave it out for all rows.",
        )
    generator = np.random.Generator(np.random.Philox(seed))
    drawn = generator.permutation(len(kept))
    return np.sort(kept[drawn[:sample]])


def _taken(found: Any, kept: NDArray[np.int64]) -> Any:
    """These rows of whatever was read."""
    if len(kept) == _rows_of(found):
        return found
    if isinstance(found, tuple):
        return tuple(each[kept] for each in found)
    if hasattr(found, "iloc"):
        return found.iloc[kept]
    if isinstance(found, list):
        return [found[k] for k in kept]
    return found[kept]


def _slice(text: str) -> slice:
    found = re.fullmatch(r"\s*(-?[0-9]{1,12})?\s*(:)?\s*(-?[0-9]{1,12})?\s*", text)
    if found is None or not any(found.groups()):
        raise InputError(
            expected="rows as START:STOP or one number",
            got=repr(text),
            advice="Write --rows 0:16 for the first sixteen.",
        )
    start, colon, stop = found.groups()
    if colon is None:
        place = int(start)
        return slice(place, place + 1 or None)
    return slice(int(start) if start else None, int(stop) if stop else None)


def _matching(found: Any, text: str, path: Path) -> NDArray[np.bool_]:
    parts = re.fullmatch(r"\s*(.+?)\s*(<=|>=|==|!=|<|>)\s*(.+?)\s*", text)
    if parts is None or not hasattr(found, "columns"):
        raise InputError(
            expected="--where as a column of a table, an operator and a value",
            got=repr(text) if parts is None else f"{path}, which is no table",
            advice="Write --where 'age > 40'.",
        )
    column, sign, literal = parts.groups()
    _check_columns(found, "--where", (column,), path)
    try:
        # A word without quotes is a text.
        value = ast.literal_eval(literal)
    except (ValueError, SyntaxError, MemoryError, RecursionError, TypeError):
        value = literal
    try:
        return np.asarray(_OPERATORS[sign](found[column], value), dtype=bool)
    except (TypeError, ValueError) as error:
        raise InputError(
            expected=f"a value to compare {column!r} with",
            got=repr(literal),
            advice=f"{error}: write a value of the column's own kind.",
        ) from error
