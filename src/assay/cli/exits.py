"""How a command ends: its exit code, and the one message that says why.

| code | what it means |
|---|---|
| 0 | done, and what was required holds |
| 1 | done, and what was required does not hold |
| 2 | refused: arguments, files, the question; nothing was written |
| 3 | done in part: what there is was written |
| 4 | the predictor, or the file that it is in, raised an exception |
| 70 | a fault of this library |
| 130, 143 | interrupted, terminated |
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import traceback
from pathlib import Path
from typing import Any, final

import typer
from typer.core import TyperCommand, TyperGroup

from assay.errors import AssayError, ModelError

DONE = 0
NOT_HELD = 1
REFUSED = 2
IN_PART = 3
MODEL_RAISED = 4
FAULT = 70
INTERRUPTED = 130
TERMINATED = 143

JSON = "assay.json"  # where a context notes that words are to come as JSON
TRACEBACK = "assay.traceback"  # and that tracebacks are wanted

_PACKAGE = Path(__file__).parent.parent


@final
class Completed(TyperCommand):
    """A command that is completed at the TAB without looking at what was typed before."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """What was typed, as text where a shell only asks what may follow: values need pydantic."""
        if not ctx.resilient_parsing:
            return super().parse_args(ctx, args)
        typed, rest, _ = self.make_parser(ctx).parse_args(args=args)
        for option in self.get_params(ctx):
            value, source = option.consume_value(ctx, typed)
            ctx.set_parameter_source(option.name, source)
            ctx.params[option.name] = value
        ctx.args = rest
        return rest


@final
class Refusing(TyperGroup):
    """Ends every command with a message and a code, and no traceback for a user's mistake."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """What was typed; help and versions are told here, before any command."""
        for option in self.get_params(ctx):
            # Typer's own flags have no default, and pydantic would be loaded to tell that from False.
            if getattr(option, "is_flag", False) and option.default is None:
                option.default = False
        try:
            return super().parse_args(ctx, args)
        except BrokenPipeError:
            _silence()
            raise typer.Exit(DONE) from None
        except OSError as error:
            raise typer.Exit(_unwritten(error, ctx)) from error

    def invoke(self, ctx: Any) -> Any:
        """One command with its ending."""
        before = _on_termination()
        try:
            found = super().invoke(ctx)
            # Here, so that a full disk behind a pipe is told, and no longer when Python shuts down.
            sys.stdout.flush()
            return found
        except AssayError as refusal:
            raise typer.Exit(_refuse(refusal, ctx)) from refusal
        except KeyboardInterrupt as stop:
            typer.echo("Interrupted: nothing was left half written.", err=True)
            raise typer.Exit(INTERRUPTED) from stop
        except BrokenPipeError:
            _silence()
            raise typer.Exit(DONE) from None
        except OSError as error:
            raise typer.Exit(_unwritten(error, ctx)) from error
        except Exception as error:
            # Endings of typer's own: exits, and usage that it explains itself.
            if isinstance(error, typer.Exit | typer.Abort) or hasattr(error, "exit_code"):
                raise
            raise typer.Exit(_fault(error, ctx)) from error
        finally:
            if before is not None:
                signal.signal(signal.SIGTERM, before)


def _on_termination() -> Any:
    """Ends by an exception, so that what is half done is cleared away; gives back what was set."""

    def end(number: int, frame: Any) -> None:
        raise SystemExit(TERMINATED)

    try:
        return signal.signal(signal.SIGTERM, end)
    except ValueError:  # not the main thread
        return None


def _silence() -> None:
    """Nobody reads any more: what is left to be written goes nowhere."""
    try:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)
    except (OSError, ValueError):  # a stream without a number
        pass


def _refuse(refusal: AssayError, ctx: Any) -> int:
    raised = refusal.__cause__ if isinstance(refusal, ModelError) else None
    place = outside(raised) if raised else ""
    _say(type(refusal).__name__, str(refusal), refusal.advice, ctx)
    # A program that failed has no lines to show.
    if isinstance(raised, subprocess.SubprocessError):
        return MODEL_RAISED
    if not place:
        return REFUSED
    # What the user's own predictor raised is found in the user's own file.
    typer.echo(f"Raised in {place}, which is no part of assay.", err=True)
    _show_traceback(raised, ctx)
    return MODEL_RAISED


def _unwritten(error: OSError, ctx: Any) -> int:
    place = outside(error)
    if place:
        return _raised(error, place, ctx)
    named = f" {error.filename}" if error.filename else ""
    reason = error.strerror or str(error)
    advice = "Look whether there is room, and whether you may read and write there."
    # Standard output itself may be what is full.
    _silence()
    _say("OSError", f"Expected to read and write{named}, got: {reason}. {advice}", advice, ctx)
    return REFUSED


def _raised(error: BaseException, place: str, ctx: Any) -> int:
    message = f"{type(error).__name__}: {error}. Raised in {place}, which is no part of assay."
    _say("ModelError", message, "Mend it there.", ctx)
    _show_traceback(error, ctx)
    return MODEL_RAISED


def _fault(error: Exception, ctx: Any) -> int:
    place = outside(error)
    if place:
        return _raised(error, place, ctx)
    # The traceback is what whoever mends it needs.
    typer.echo("".join(traceback.format_exception(error)), err=True)
    message = "This is a fault of assay: please report it, with the command and the lines above."
    _say(type(error).__name__, f"{error}. {message}", "Report it.", ctx)
    return FAULT


def _say(kind: str, message: str, hint: str, ctx: Any) -> None:
    typer.echo(f"{kind}: {message}", err=True)
    if ctx.meta.get(JSON):
        error = {"kind": kind, "message": message, "hint": hint}
        typer.echo(json.dumps({"format": "assay.error/1", "error": error}))


def _show_traceback(error: BaseException | None, ctx: Any) -> None:
    if error is not None and ctx.meta.get(TRACEBACK):
        typer.echo("".join(traceback.format_exception(error)), err=True)
    elif error is not None:
        typer.echo("`assay --traceback ...` shows the way there.", err=True)


def outside(error: BaseException) -> str:
    """Where an exception was raised, if that is neither this library nor what it stands on."""
    frames = traceback.extract_tb(error.__traceback__)
    # Installed packages lie below the interpreter's own folders.
    installed = (str(_PACKAGE), sys.prefix, sys.base_prefix, "<frozen")
    # Compiled code names files that are not there.
    theirs = [
        frame
        for frame in frames
        if not frame.filename.startswith(installed) and Path(frame.filename).is_file()
    ]
    if theirs:
        return f"{theirs[-1].filename}, line {theirs[-1].lineno}"
    return ""
