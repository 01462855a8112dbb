"""Python programs made at random, of the things that the scanner resolves, follows and reports."""

import random
from collections.abc import Callable

_NAMES = ("a", "b", "c", "data", "password", "token", "app", "f", "g", "self", "os", "request")
_IMPORTS = (
    "import os",
    "import subprocess as a",
    "import os.path, pickle",
    "from flask import Flask, request, render_template",
    "from base64 import b64decode as b",
    "from os import *",
    "import socket",
    "from . import c",
    "from setuptools import setup",
    "import requests.auth",
)
_CALLED = (
    "os.system",
    "eval",
    "exec",
    "open",
    "subprocess.run",
    "a.Popen",
    "pickle.loads",
    "b",
    "request.args.get",
    "requests.auth.HTTPBasicAuth",
    "f",
    "g",
    "setup",
    "input",
    "ord",
    "chr",
    "globals",
    "__import__",
    "tempfile.mktemp",
    "flask.make_response",
)
_METHODS = ("decode", "replace", "format", "join")
_STRINGS = (
    "'x'",
    "'SELECT * FROM users WHERE name = %s'",
    "'secret-value'",
    "'https://example.org/?token=abcdefgh12'",
    "'(a+)+$'",
    "'(a|b|[^c])*'",
    "'%s and {}'",
    "u'unicode'",
    "b'bytes'",
    "'" + "QUJDREVG" * 20 + "'",
    '\'import os\\nos.system("id")\\n' + "# a comment to make it long enough to be unpacked as a file\\n" * 2 + "'",
)


class Programs:
    """A stream of programs, the same for the same seed."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)

    def program(self) -> str:
        """Return the source of one program; it can be parsed, and it need not make sense."""
        imports = self._random.sample(_IMPORTS, self._random.randint(0, 5))
        return "\n".join([*imports, *self._block(self._random.randint(3, 12), 0)]) + "\n"

    def _block(self, statements: int, depth: int) -> list[str]:
        lines = [line for _ in range(statements) for line in self._statement(depth)]
        return lines or ["pass"]

    def _nested(self, header: str, depth: int) -> list[str]:
        body = self._block(self._random.randint(1, 4), depth + 1)
        return [header, *(f"    {line}" for line in body)]

    def _statement(self, depth: int) -> list[str]:
        choose, name, value = self._random.choice, self._name, self._expression
        simple: list[Callable[[], list[str]]] = [
            lambda: [f"{name()} = {value()}"],
            lambda: [f"{name()} = {value()}"],
            lambda: [f"{name()} = {name()}"],
            lambda: [f"{name()}.{name()} = {value()}"],
            lambda: [f"{name()}[{value()}] = {value()}"],
            lambda: [f"{name()}, {name()} = {value()}, {value()}"],
            lambda: [f"{name()} += {value()}"],
            lambda: [value()],
            lambda: [self._call(2)],
            lambda: [f"return {value()}" if depth else value()],
            lambda: [f"yield {value()}" if depth else value()],
            lambda: [f"del {name()}"],
            lambda: [f"assert {name()} == {choose(_STRINGS)}"],
            lambda: [choose(_IMPORTS[:5])],
        ]
        compound: list[Callable[[], list[str]]] = [
            lambda: [f"@{name()}.route('/<int:{name()}>/<{name()}>')", *self._function(depth)],
            lambda: self._function(depth),
            lambda: self._nested(f"class {name()}({name()}):", depth),
            lambda: self._nested(f"if {name()} == {choose(_STRINGS)}:", depth),
            lambda: self._nested(f"for {name()} in {value()}:", depth),
            lambda: self._nested(f"with {self._call(1)} as {name()}:", depth),
            lambda: [*self._nested("try:", depth), *self._nested(f"except {name()} as {name()}:", depth)],
            lambda: self._nested(f"while {value()}:", depth),
        ]
        kind = choose(simple + compound if depth < 3 else simple)
        lines = kind()
        return lines if depth or "yield" not in lines[0] else ["pass"]

    def _function(self, depth: int) -> list[str]:
        special = self._random.random() < 0.1
        name = "__reduce__" if special else self._name()
        first, second = self._random.sample(_NAMES, 2)
        return self._nested(f"def {name}({first}, {second}={self._expression(1)}):", max(depth, 0))

    def _name(self) -> str:
        return self._random.choice(_NAMES)

    def _call(self, depth: int) -> str:
        arguments = [self._expression(depth - 1) for _ in range(self._random.randint(0, 3))]
        if self._random.random() < 0.3:
            arguments.append(f"{self._random.choice(('shell', 'verify', 'debug', 'name', 'b'))}={self._atom()}")
        function = self._random.choice((*_CALLED, *_NAMES, f"{self._name()}.{self._name()}"))
        return f"{function}({', '.join(arguments)})"

    def _atom(self) -> str:
        constants = ("True", "None", "0", "7", "-3", "1.5", "...", "64", "2j")
        return self._random.choice((self._name(), self._name(), *constants, self._random.choice(_STRINGS)))

    def _expression(self, depth: int = 3) -> str:
        if depth <= 0 or self._random.random() < 0.25:
            return self._atom()
        inner = lambda: self._expression(depth - 1)  # noqa: E731
        return self._random.choice(
            (
                lambda: self._call(depth),
                lambda: self._call(depth),
                lambda: f"({inner()}).{self._name()}",
                lambda: f"{self._name()}.{self._name()}.{self._name()}",
                lambda: f"({inner()}).{self._random.choice(_METHODS)}({inner()}, {inner()})",
                lambda: f"({inner()} {self._random.choice('+%*')} {inner()})",
                lambda: f"{self._name()}[{inner()}]",
                lambda: f"{self._random.choice(_STRINGS[:3])}[{self._random.randint(0, 3)}:]",
                lambda: f"[{inner()}, {inner()}]",
                lambda: f"{{'k': {inner()}, {self._atom()}: {self._name()}}}",
                lambda: f"(lambda {self._name()}: {inner()})",
                lambda: f"[{inner()} for {self._name()} in {inner()}]",
                lambda: f"({inner()} if {inner()} else {inner()})",
                lambda: f"f'{{{self._name()}}} text'",
                lambda: f"chr({self._random.randint(-1, 200)})",
                lambda: "ord('x')",
                lambda: f"(not {inner()})",
                lambda: f"(-{self._random.randint(0, 9)})",
                lambda: f"({inner()} == {inner()})",
            )
        )()
