"""No shell sees a string from outside: read off the source of everything that ships."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

PROJECT = Path(__file__).resolve().parents[1]
# Where a shell is started on purpose, by the function it is in: the demo's sshd.
SHELLS = {("demo/ssh_worker.py", "_run_command")}
# What of a command for a worker need not be quoted where it is used, and why.
SAFE = {"self.look": "of a trigger, made where that is", "self.end": "the same", "position": "a number, by JobStatus"}
SHELL_FUNCTIONS = {"system", "popen", "getoutput", "getstatusoutput", "create_subprocess_shell", "subprocess_shell"}
STARTERS = {"run", "Popen", "call", "check_call", "check_output"}


def sources() -> Iterator[tuple[str, ast.Module]]:
    for root in ("include", "plugins", "dags"):
        for path in sorted((PROJECT / root).rglob("*.py")):
            yield str(path.relative_to(PROJECT / root)), ast.parse(path.read_text(encoding="utf-8"))


def functions(tree: ast.Module) -> Iterator[tuple[str, ast.AST]]:
    """Yield each function with its name, and the module itself."""
    yield "", tree
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node.name, node


def called(node: ast.Call) -> str:
    return node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")


def starts_a_shell(tree: ast.AST) -> bool:
    for node in ast.walk(tree):
        if (
            isinstance(node, ast.Constant)
            and isinstance(node.value, str)
            and node.value.startswith(("bash -c", "sh -c"))
        ):
            return True
        if not isinstance(node, ast.Call):
            continue
        texts = [argument.value for argument in ast.walk(node) if isinstance(argument, ast.Constant)]
        if called(node) in SHELL_FUNCTIONS or any(word.arg == "shell" for word in node.keywords):
            return True
        if {"bash", "sh", "/bin/sh", "/bin/bash"} & set(
            filter(lambda text: isinstance(text, str), texts)
        ) and "-c" in texts:
            return True
        if (
            called(node) in STARTERS
            and node.args
            and isinstance(node.args[0], ast.Constant | ast.JoinedStr | ast.BinOp)
        ):
            return isinstance(node.func, ast.Attribute) and getattr(node.func.value, "id", "") == "subprocess"
    return False


def is_quoted(value: ast.expr, function: ast.AST) -> bool:
    """Whether a command is made by shlex, of text that is in the source, or of both."""
    if ast.unparse(value) in SAFE:
        return True
    match value:
        case ast.Constant():
            return True
        case ast.JoinedStr(values=parts):
            return all(
                is_quoted(part.value if isinstance(part, ast.FormattedValue) else part, function) for part in parts
            )
        case ast.IfExp(body=one, orelse=other):
            return is_quoted(one, function) and is_quoted(other, function)
        case ast.Call(func=ast.Attribute(value=ast.Name(id="shlex"), attr="join" | "quote")):
            return True
        case ast.Name(id=name):
            made = [
                node.value
                for node in ast.walk(function)
                if isinstance(node, ast.Assign) and [ast.unparse(target) for target in node.targets] == [name]
            ]
            return bool(made) and all(is_quoted(one, function) for one in made)
    return False


def remote_commands(call: ast.Call) -> list[ast.expr]:
    """Return what a call hands to the shell of a worker, or to a trigger that will."""
    if called(call) == "exec_command" or ast.unparse(call.func) in ("connection.run", "connection.create_process"):
        return call.args[:1]
    if called(call) == "WorkerJobTrigger":
        return [word.value for word in call.keywords if word.arg in ("look", "end")]
    return []


def remote(tree: ast.Module) -> list[tuple[str, bool]]:
    """Return the calls of a module that hand a command to a worker, and whether it is quoted."""
    return [
        (ast.unparse(node), all(is_quoted(command, function) for command in commands))
        for name, function in functions(tree)
        if name
        for node in ast.walk(function)
        if isinstance(node, ast.Call) and (commands := remote_commands(node))
    ]


def test_shells_are_started_where_they_are_listed_and_nowhere_else() -> None:
    found = {
        (path, name)
        for path, tree in sources()
        for name, function in functions(tree)
        if name and starts_a_shell(function)
    }
    assert found == SHELLS


def test_every_remote_command_is_quoted() -> None:
    found = [(path, *call) for path, tree in sources() for call in remote(tree)]
    assert {path for path, _, _ in found} == {
        f"worker_jobs/{name}.py" for name in ("worker", "job_operator", "job_trigger")
    }
    assert [(path, call) for path, call, quoted in found if not quoted] == []


@pytest.mark.parametrize(
    "source",
    [
        "subprocess.run(f'ls {name}', shell=True)",
        "subprocess.run('ls ' + name)",
        "os.system(name)",
        "subprocess.check_output(f'ls {name}')",
        "subprocess.run(['sh', '-c', name])",
        "asyncio.create_subprocess_shell(name)",
        "command = f'bash -c {name}'",
    ],
)
def test_a_shell_would_be_found(source: str) -> None:
    assert starts_a_shell(ast.parse(f"def f():\n    {source}"))
    assert not starts_a_shell(ast.parse("def f():\n    subprocess.run(['ls', '--', name], check=True)"))


@pytest.mark.parametrize(
    "source",
    [
        "client.exec_command(f'ls {name}')",
        "client.exec_command(' '.join(words))",
        "client.exec_command(name)",
        "line = 'ls ' + name; client.exec_command(line)",
        "connection.run(f'{self.end} {name}')",
        "WorkerJobTrigger(look=shlex.join(words), end=' '.join(words))",
    ],
)
def test_a_remote_command_that_is_not_quoted_would_be_found(source: str) -> None:
    assert [quoted for _, quoted in remote(ast.parse(f"def f():\n    {source}"))] == [False]
    good = "def f():\n    line = shlex.join(words); client.exec_command(line)"
    assert [quoted for _, quoted in remote(ast.parse(good))] == [True]
