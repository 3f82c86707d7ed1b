"""Callbacks that run in the browser (the functions are in assets/)."""

from __future__ import annotations

from typing import Any

from dash import ClientsideFunction, Dash, Output


def in_browser(app: Dash, function: str, *parts: Any, first: Any = False) -> None:
    """Call `NAMESPACE.FUNCTION` of the page's scripts when an input of `parts` changes.

    Args:
        parts: outputs, inputs and states, as Dash takes them.
        first: whether it is called when the page appears (`"duplicate"`: also where others write the same output).
    """
    wait = {True: False, False: True, "duplicate": "initial_duplicate"}[first]
    app.clientside_callback(ClientsideFunction(*function.split(".")), *parts, prevent_initial_call=wait)


def also(ident: str, name: str) -> Output:
    """An output that other callbacks write, too."""
    return Output(ident, name, allow_duplicate=True)
