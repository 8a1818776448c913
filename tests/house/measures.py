"""The measures of the source that the style guide sets: `python tests/house/measures.py [folder]`.

| measure | what is counted | goal |
|---|---|---|
| comments | lines that are or end in a comment, in % of all lines | at least 4 |
| body | characters of a line of code in a function's body, without its indentation, mean | at most 38 |
| packed | assignments of a tuple to a tuple (`a, b = x, y`), per 1,000 lines | at most 4 |
| conditional | conditional expressions (`x if c else y`), per 1,000 lines | at most 12 |
| complex | functions whose McCabe complexity is above 10 | 0 |
| wide | lines of more than 110 characters | 0 |
| unadvised | refusals raised without advice | 0 |
"""

from __future__ import annotations

import ast
import io
import sys
import tokenize
from collections.abc import Iterator
from dataclasses import dataclass, fields
from pathlib import Path

FAMILY = {
    "AssayError",
    "InputError",
    "SettingError",
    "KindError",
    "SettingKindError",
    "TargetError",
    "AbilityError",
    "ModelError",
    "VersionError",
}
BRANCHES = (
    ast.If,
    ast.For,
    ast.While,
    ast.ExceptHandler,
    ast.comprehension,
    ast.match_case,
)


@dataclass
class Counts:
    """Counts over files, which add up."""

    lines: int = 0
    commented: int = 0
    body_lines: int = 0
    body_characters: int = 0
    packed: int = 0
    conditional: int = 0
    complex: int = 0
    wide: int = 0
    unadvised: int = 0

    def __iadd__(self, other: Counts) -> Counts:
        for field in fields(self):
            setattr(self, field.name, getattr(self, field.name) + getattr(other, field.name))
        return self

    @property
    def comments(self) -> float:
        return 100 * self.commented / max(1, self.lines)

    @property
    def body(self) -> float:
        return self.body_characters / max(1, self.body_lines)

    def per_thousand(self, count: int) -> float:
        return 1000 * count / max(1, self.lines)

    def row(self) -> str:
        return (
            f"comments {self.comments:4.1f} %  body {self.body:4.1f}  "
            f"packed {self.per_thousand(self.packed):4.1f}  "
            f"conditional {self.per_thousand(self.conditional):4.1f}  complex {self.complex}  "
            f"wide {self.wide}  unadvised {self.unadvised}  lines {self.lines}"
        )


def functions(tree: ast.Module) -> Iterator[ast.FunctionDef]:
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef):
            yield node


def complexity(function: ast.FunctionDef) -> int:
    """McCabe's number: decisions and one; functions inside count for themselves."""
    total = 1
    waiting: list[ast.AST] = list(function.body)
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.FunctionDef | ast.ClassDef | ast.Lambda):
            continue
        total += isinstance(node, BRANCHES)
        waiting.extend(ast.iter_child_nodes(node))
    return total


def body_lines(tree: ast.Module, lines: list[str]) -> Iterator[str]:
    """Lines of functions' bodies without their docstrings, each once."""
    numbers: set[int] = set()
    documented: set[int] = set()
    for function in functions(tree):
        body = function.body
        if ast.get_docstring(function) is not None:
            documented |= set(range(body[0].lineno, (body[0].end_lineno or 0) + 1))
            body = body[1:]
        if body:
            numbers |= set(range(body[0].lineno, (body[-1].end_lineno or 0) + 1))
    for number in sorted(numbers - documented):
        line = lines[number - 1].strip()
        if line and not line.startswith("#"):
            yield line


def unadvised(tree: ast.Module) -> int:
    """Refusals without a third part: what to do."""
    missing = 0
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        name = node.func.id if isinstance(node.func, ast.Name) else ""
        if name in FAMILY:
            advice = [keyword.value for keyword in node.keywords if keyword.arg == "advice"]
            empty = not advice or (isinstance(advice[0], ast.Constant) and not advice[0].value)
            missing += empty
    return missing


def measured(path: Path) -> Counts:
    text = path.read_text(encoding="utf-8")
    lines = text.splitlines()
    tree = ast.parse(text)
    body = list(body_lines(tree, lines))
    commented = {
        token.start[0]
        for token in tokenize.generate_tokens(io.StringIO(text).readline)
        if token.type == tokenize.COMMENT and not token.string.startswith(("# type:", "# noqa"))
    }
    packed = sum(
        isinstance(node, ast.Assign)
        and isinstance(node.targets[0], ast.Tuple)
        and isinstance(node.value, ast.Tuple)
        for node in ast.walk(tree)
    )
    return Counts(
        lines=len(lines),
        commented=len(commented),
        body_lines=len(body),
        body_characters=sum(map(len, body)),
        packed=packed,
        conditional=sum(isinstance(node, ast.IfExp) for node in ast.walk(tree)),
        complex=sum(complexity(function) > 10 for function in functions(tree)),
        wide=sum(len(line) > 110 for line in lines),
        unadvised=unadvised(tree),
    )


def total(folder: Path) -> Counts:
    counts = Counts()
    for path in sorted(folder.rglob("*.py")):
        counts += measured(path)
    return counts


def main() -> None:
    source = Path(__file__).resolve().parents[2] / "src" / "assay"
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else source
    for path in sorted(folder.rglob("*.py")):
        print(f"{path.relative_to(folder).as_posix():45} {measured(path).row()}")
    print(f"{'all':45} {total(folder).row()}")


if __name__ == "__main__":
    main()
