"""What anything is, as bytes: the same in every process, and other where something in it is other.

An answer says which model it is of by a hash of whatever decides the outputs: weights, the code of a
function with what it closes over, the trees of a forest. Bookkeeping takes no answer with it: what
cannot be read (a handle, a lock, a session of another runtime) counts by its kind alone.

Objects are read as `pickle` would write them, by `__reduce_ex__`, but nothing is written: arrays go
to the hash as they lie in memory. Two things that pickle remembers are left out, since they differ
between equal objects: which parts are one and the same object, and the order of sets.
"""

from __future__ import annotations

import copyreg
import dataclasses
import enum
import functools
import hashlib
import types
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeAlias, final
from weakref import WeakKeyDictionary

import numpy as np
import torch
from torch import Tensor, nn

from assay.models.base import Model

_DEPTH = 60  # how far down parts of parts are read
_PARTS = 200_000  # parts that are read at most: a function may reach the whole of a program
_LIBRARIES = ("site-packages", "dist-packages", "/lib/python", "\\Lib\\")  # folders of their code
_PIECE = 1 << 24  # bytes of an array that are handed to the hash at once
_AS_BYTES = "biufc"  # kinds of numbers that hand out their own bytes; dates and records may not

Parts: TypeAlias = Iterable[Any]


def identity(*things: Any) -> bytes:
    """One hash of several things; it never raises."""
    reader = _Reader()
    for thing in things:
        reader.read(thing)
    return reader.hashed.digest()


@final
class _Reader:
    """Hashes things, their parts, and the parts of those."""

    def __init__(self) -> None:
        self.hashed = hashlib.blake2b(digest_size=16)
        self._open: set[int] = set()
        self._functions: set[int] = set()
        self._plain: dict[type, bytes] = {}
        self._left = _PARTS

    def read(self, thing: Any) -> None:
        """Adds one thing to the hash."""
        self._left -= 1
        # A part that holds its whole, or lies too deep, is named and not followed.
        if id(thing) in self._open or len(self._open) > _DEPTH or self._left < 0:
            self._tag("again", _kind(thing))
            return
        # Most parts of a forest are numbers and words, which hold nothing and cannot fail.
        if type(thing) in _ATOMS:
            self._tag(type(thing).__name__, repr(thing))
            return
        self._open.add(id(thing))
        try:
            self._read(thing)
        except Exception:  # whatever a foreign object raises when it is read
            self._tag("unread", _kind(thing))
        finally:
            self._open.discard(id(thing))

    def _read(self, thing: Any) -> None:
        # The kinds that a forest is made of are looked up, not tried one after the other.
        known = _EXACTLY.get(type(thing))
        if known is not None:
            known(self, thing)
        elif self._is_plain(thing):
            self._plain_object(thing)
        elif thing is None or isinstance(thing, bool | int | float | complex | str | enum.Enum):
            self._tag(
                type(thing).__name__, str(thing) if isinstance(thing, enum.Enum) else repr(thing)
            )
        elif isinstance(thing, bytes | bytearray | memoryview):
            self._tag("bytes", str(len(thing)))
            self.hashed.update(thing)
        else:
            for kind, read in _READERS:
                if isinstance(thing, kind):
                    read(self, thing)
                    return
            self._object(thing)

    def _is_plain(self, thing: Any) -> bool:
        """Whether all but the attributes of a thing is known, as of the second tree of a forest and
        those behind it: nothing on pickle's way is written by its class.
        """
        # The way on from here is the same only where it ends nowhere before the attributes.
        if id(_NEW_OBJECT) not in self._functions or len(self._open) > _DEPTH - 2:
            return False
        if self._left <= _KNOWN_PARTS:
            return False
        kind = type(thing)
        if kind not in self._plain:
            self._plain[kind] = _before_attributes(kind) if _pickles_plainly(kind) else b""
        if not self._plain[kind]:
            return False
        attributes = thing.__dict__
        return len(attributes) > 0 and _PICKLED_BY.isdisjoint(attributes)

    def _plain_object(self, thing: Any) -> None:
        """What `_object` hashes, to the byte, of what is plain."""
        self.hashed.update(self._plain[type(thing)])
        self._left -= _KNOWN_PARTS
        self.read(thing.__dict__)
        self.hashed.update(_NOTHING)

    def _tag(self, *words: str) -> None:
        self.hashed.update(b"".join(map(_framed, words)))

    def _parts(self, name: str, parts: Parts) -> None:
        listed = list(parts)
        self._tag(name, str(len(listed)))
        for part in listed:
            self.read(part)

    def _unordered(self, name: str, parts: Parts) -> None:
        """Parts whose order means nothing: each is hashed alone, and the hashes are sorted."""
        self._parts(name, sorted(identity(part) for part in parts))

    def _mapping(self, mapping: Mapping[Any, Any]) -> None:
        self._tag("mapping", str(len(mapping)))
        for key, value in mapping.items():
            self.read(key)
            self.read(value)

    def _array(self, array: np.ndarray[Any, Any]) -> None:
        dtype = array.dtype
        self.hashed.update(_head_of_array(dtype, array.shape))
        if dtype.hasobject:
            self._parts("objects", array.reshape(-1).tolist())
            return
        # What lies between the fields of a record is anything.
        if dtype.names and not _is_packed(dtype):
            for name in dtype.names:
                self._array(array[name])
            return
        # The small arrays of many trees go as they lie.
        if array.nbytes <= _PIECE and array.flags.c_contiguous and dtype.kind in _AS_BYTES:
            self.hashed.update(array.data)
            return
        flat = np.ascontiguousarray(array).reshape(-1).view(np.uint8)
        for start in range(0, len(flat), _PIECE):
            self.hashed.update(flat[start : start + _PIECE].data)

    def _tensor(self, tensor: Tensor) -> None:
        self._tag("tensor", str(tensor.dtype), str(tuple(tensor.shape)), str(tensor.layout))
        if tensor.is_meta:
            return
        if tensor.is_quantized:
            self._tensor(tensor.int_repr())
            self._tag(str(tensor.qscheme()))
            return
        if tensor.layout is not torch.strided:
            tensor = tensor.to_dense()
        plain = tensor.detach().cpu().contiguous()
        # One number that was expanded has a stride of 0, which no view as bytes has.
        plain = plain.as_strided((plain.numel(),), (1,))
        if plain.numel():
            self._array(plain.view(torch.uint8).numpy())

    def _module(self, module: nn.Module) -> None:
        self.hashed.update(_weights(module))
        self._tag("module", str(module))
        # Modules without weights of their own differ by what they hold (a factor, a table).
        for name, part in module.named_modules():
            self._tag(name, _kind(part))
            # Sorted, since the order in which attributes were set makes no other module.
            for key in sorted(filter(_own, vars(part))):
                self._tag(key)
                self._setting(vars(part)[key])

    def _setting(self, value: Any) -> None:
        """An attribute of a module: numbers, words, tables, and the code of functions; what it
        collects while it works (a log, a cache) makes it no other module.
        """
        if isinstance(value, types.FunctionType):
            self._code(value.__code__)
        elif isinstance(value, _SETTINGS):
            self.read(value)
        else:
            self._tag(_kind(value), _name(value))

    def _function(self, function: types.FunctionType) -> None:
        self._tag("function", function.__module__ or "", function.__qualname__)
        # Functions call each other in circles.
        if id(function) in self._functions:
            return
        self._functions.add(id(function))
        self._parts("defaults", function.__defaults__ or ())
        self._mapping(function.__kwdefaults__ or {})
        cells = [cell.cell_contents for cell in function.__closure__ or () if _filled(cell)]
        self._parts("closure", cells)
        # The code of a library is known by its name.
        if any(folder in function.__code__.co_filename for folder in _LIBRARIES):
            return
        self._code(function.__code__)
        # What the code names in its module: other values there are another function.
        known = function.__globals__
        named = [name for name in sorted(_names(function.__code__)) if name in known]
        self._mapping({name: known[name] for name in named})

    def _code(self, code: types.CodeType) -> None:
        self._tag("code", *code.co_names, *code.co_varnames, *code.co_freevars)
        self.hashed.update(code.co_code)
        self._parts("constants", code.co_consts)

    def _named(self, thing: Any) -> None:
        self._tag("named", getattr(thing, "__module__", None) or "", _name(thing))

    def _class(self, kind: type) -> None:
        self._tag("class", kind.__module__, kind.__qualname__)

    def _dataclass(self, thing: Any) -> None:
        # What a cached property has added is no part of it.
        self._tag("dataclass", _kind(thing))
        for field in dataclasses.fields(thing):
            self._tag(field.name)
            self.read(getattr(thing, field.name))

    def _object(self, thing: Any) -> None:
        self._tag("object", _kind(thing))
        if dataclasses.is_dataclass(thing):
            self._dataclass(thing)
            return
        # A class of the caller's own decides by its code, too.
        called = _written_call(type(thing))
        if isinstance(called, types.FunctionType):
            self.read(called)
        self._state(thing)

    def _state(self, thing: Any) -> None:
        """What pickle would write of an object; where it would write nothing, its attributes."""
        try:
            reduced = thing.__reduce_ex__(4)
        except Exception:  # not to be pickled: a session, a lock, something of a native library
            reduced = getattr(thing, "__dict__", None) or ()
        # A text names a global thing; a mapping holds the attributes of what cannot be pickled.
        if isinstance(reduced, str | Mapping):
            self.read(reduced)
            return
        for index, part in enumerate(reduced):
            # The fourth and fifth are iterators over the items of lists and mappings.
            items = index in (3, 4) and part is not None
            self.read(list(part) if items else part)


def _partial(reader: _Reader, thing: functools.partial[Any]) -> None:
    reader._parts("partial", (thing.func, thing.args, thing.keywords))


def _method(reader: _Reader, thing: types.MethodType) -> None:
    reader._parts("method", (thing.__func__, thing.__self__))


def _builtin(reader: _Reader, thing: types.BuiltinFunctionType) -> None:
    reader._named(thing)
    owner = thing.__self__
    if owner is not None and not isinstance(owner, types.ModuleType):
        reader.read(owner)


def _unwrapped(reader: _Reader, thing: Any) -> None:
    reader.read(thing.__func__)


_READERS: tuple[tuple[Any, Callable[[_Reader, Any], None]], ...] = (
    (Model, lambda reader, thing: reader.read(thing.fingerprint())),
    (Tensor, _Reader._tensor),
    (nn.Module, _Reader._module),
    (np.ndarray, _Reader._array),
    (np.generic, lambda reader, thing: reader._array(np.asarray(thing))),
    (Mapping, lambda reader, thing: reader._mapping(thing)),
    (tuple, lambda reader, thing: reader._parts("tuple", thing)),
    (list, lambda reader, thing: reader._parts("list", thing)),
    (set | frozenset, lambda reader, thing: reader._unordered("set", thing)),
    (types.FunctionType, _Reader._function),
    (types.MethodType, _method),
    (types.CodeType, _Reader._code),
    (functools.partial, _partial),
    (types.BuiltinFunctionType, _builtin),
    (types.ModuleType | np.ufunc, _Reader._named),
    (staticmethod | classmethod, _unwrapped),
    (type, _Reader._class),
)


_SETTINGS = (
    bool,
    int,
    float,
    complex,
    str,
    tuple,
    np.ndarray,
    np.generic,
    Tensor,
    functools.partial,
)


_EXACTLY: dict[type, Callable[[_Reader, Any], None]] = {
    np.ndarray: _Reader._array,
    dict: _Reader._mapping,
    tuple: lambda reader, thing: reader._parts("tuple", thing),
    list: lambda reader, thing: reader._parts("list", thing),
    type: _Reader._class,
}
"""The readers above, of things that are of these kinds and no other."""


_ATOMS = frozenset({type(None), bool, int, float, complex, str})


_KNOWN_PARTS = 5  # what pickle writes of an object beside its attributes
_PICKLED_BY = frozenset(
    {
        "__class__",
        "__getattr__",
        "__getattribute__",
        "__getnewargs__",
        "__getnewargs_ex__",
        "__getstate__",
        "__reduce__",
        "__reduce_ex__",
        "__slots__",
    }
)
"""Names by which a class decides what pickle writes of it, or what it is taken for."""


_NEW_OBJECT: Any = vars(copyreg)["__newobj__"]
"""What pickle makes plain objects by."""


class _Attributes:
    """An object that holds attributes and nothing else."""


def _pickles_plainly(kind: type) -> bool:
    """Whether pickle writes the class and the attributes of such an object, and no more."""
    if type(kind) is not type or dataclasses.is_dataclass(kind):
        return False
    # What another language holds takes room of its own.
    if (kind.__basicsize__, kind.__itemsize__) != (_Attributes.__basicsize__, 0):
        return False
    if isinstance(_written_call(kind), types.FunctionType):
        return False
    if any(issubclass(kind, other) for other, _ in _READERS):
        return False
    return all(_PICKLED_BY.isdisjoint(vars(one)) for one in kind.__mro__[:-1])


def _before_attributes(kind: type) -> bytes:
    """What `_object` hashes of a plain object before its attributes, where another one was read."""
    name = f"{kind.__module__}.{kind.__qualname__}"
    maker = _NEW_OBJECT
    call = ("object", name, "function", maker.__module__, maker.__qualname__)
    arguments = ("tuple", "1", "class", kind.__module__, kind.__qualname__)
    return b"".join(map(_framed, call + arguments))


@functools.lru_cache(maxsize=4096)
def _framed(word: str) -> bytes:
    """A word as bytes with its length; the same few come again in every tree of a forest."""
    code = word.encode("utf-8", "surrogatepass")
    return len(code).to_bytes(8, "little") + code


@functools.lru_cache(maxsize=4096)
def _head_of_array(dtype: np.dtype[Any], shape: tuple[int, ...]) -> bytes:
    """An array's number type and shape in words. Numpy spells a type anew each time: of a record
    that takes longer than to hash it.
    """
    return b"".join(map(_framed, ("array", str(dtype), str(shape))))


@functools.lru_cache(maxsize=256)
def _is_packed(dtype: np.dtype[Any]) -> bool:
    """Whether every byte of a record belongs to one of its fields."""
    if dtype.subdtype is not None:
        return _is_packed(dtype.subdtype[0])
    if dtype.names is None or dtype.fields is None:
        return True
    places = [dtype.fields[name] for name in dtype.names]
    ends = [(offset, offset + field.itemsize) for field, offset, *_ in places]
    # One begins where the one before ends; fields may also lie over one another.
    covered = 0
    for start, stop in sorted(ends):
        if start > covered:
            return False
        covered = max(covered, stop)
    return covered == dtype.itemsize and all(_is_packed(field) for field, *_ in places)


_NOTHING = b"".join(map(_framed, ("NoneType", "None"))) * 2
"""What is hashed of the two iterators that a plain object does not have."""


_hashes: WeakKeyDictionary[nn.Module, tuple[Any, bytes]] = WeakKeyDictionary()
"""Weights that were hashed before, with the addresses and counters by which they are told."""


def _weights(module: nn.Module) -> bytes:
    """The hash of a module's weights and buffers, made anew where they were written to or moved."""
    state = module.state_dict()
    version = _version(state)
    if version is None:
        return identity(dict(state))
    known = _hashes.get(module)
    if known is None or known[0] != version:
        known = (version, identity(dict(state)))
        _hashes[module] = known
    return known[1]


def _version(state: Mapping[str, Any]) -> Any:
    """What changes with the weights, or None where that cannot be told."""
    tensors = state.values()
    if not all(isinstance(tensor, Tensor) and not tensor.is_inference() for tensor in tensors):
        return None
    try:
        return tuple((name, one.data_ptr(), one._version, one.shape) for name, one in state.items())
    except RuntimeError:  # sparse, or without numbers
        return None


def _kind(thing: Any) -> str:
    return f"{type(thing).__module__}.{type(thing).__qualname__}"


def _name(thing: Any) -> str:
    return str(getattr(thing, "__qualname__", None) or getattr(thing, "__name__", ""))


def _written_call(kind: type) -> Any:
    """`__call__` as the class or one of those that it is made of writes it."""
    return next((vars(one)["__call__"] for one in kind.__mro__ if "__call__" in vars(one)), None)


def _own(attribute: str) -> bool:
    """Whether an attribute of a module is its own, and not what torch keeps in every module."""
    return not attribute.startswith("_") and attribute != "training"


def _filled(cell: types.CellType) -> bool:
    try:
        _ = cell.cell_contents
    except ValueError:  # a name that is not bound yet
        return False
    return True


def _names(code: types.CodeType) -> set[str]:
    """Names in the code of a function and of those that are written inside of it."""
    names = set(code.co_names)
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            names |= _names(constant)
    return names
