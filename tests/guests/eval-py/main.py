"""A component with the world of wassette's example eval-py, written from its WIT alone."""

import contextlib
import io

import wit_world
from componentize_py_types import Err


class WitWorld(wit_world.WitWorld):
    def eval(self, expression):
        try:
            return str(eval(expression, {}))
        except Exception as error:
            raise Err(f"{type(error).__name__}: {error}")

    def exec(self, statements):
        printed = io.StringIO()
        try:
            with contextlib.redirect_stdout(printed):
                exec(statements, {})
        except Exception as error:
            raise Err(f"{type(error).__name__}: {error}")
        return printed.getvalue()
