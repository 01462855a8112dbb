"""No shell sees a string from outside: read off the source of everything that ships."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

PROJECT = Path(__file__).resolve().parents[1]
# Where a shell is started on purpose, by the function it is in: the demo's sshd, and the job of a shard on a worker.
SHELLS = {("demo/ssh_worker.py", "_run_command"), ("worker_jobs/job_operator.py", "_go_on")}
# What hands a command to the shell of a remote machine: the function called, and which argument is the command.
REMOTE = {"exec_command": 0, "_run_command": 1}
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
    match value:
        case ast.Constant():
            return True
        case ast.JoinedStr(values=parts):
            return all(
                is_quoted(part.value if isinstance(part, ast.FormattedValue) else part, function) for part in parts
            )
        case ast.Call(func=ast.Attribute(value=ast.Name(id="shlex"), attr="join" | "quote")):
            return True
        case ast.Call(func=ast.Attribute(value=ast.Name(id=template), attr="format"), args=[], keywords=words):
            return template.isupper() and all(is_quoted(word.value, function) for word in words)
        case ast.Call(func=ast.Name(id="build_posix_kill_command")):
            return True  # of the provider, which quotes; see its tests
        case ast.Name(id=name):
            made = [
                node.value
                for node in ast.walk(function)
                if isinstance(node, ast.Assign) and [ast.unparse(target) for target in node.targets] == [name]
            ]
            return bool(made) and all(is_quoted(one, function) for one in made)
    return False


def unquoted(tree: ast.Module) -> list[str]:
    found = []
    for name, function in functions(tree):
        if not name:
            continue
        for node in ast.walk(function):
            command = None
            if isinstance(node, ast.Call) and called(node) in REMOTE and len(node.args) > REMOTE[called(node)]:
                command = node.args[REMOTE[called(node)]]
            elif isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "self.command":
                command = node.value
            if command and not is_quoted(command, function):
                found.append(ast.unparse(node))
    return found


def test_shells_are_started_where_they_are_listed_and_nowhere_else() -> None:
    found = {
        (path, name)
        for path, tree in sources()
        for name, function in functions(tree)
        if name and starts_a_shell(function)
    }
    assert found == SHELLS


def test_every_remote_command_is_quoted() -> None:
    remote = {path: unquoted(tree) for path, tree in sources() if not path.startswith("demo/")}
    assert {path: found for path, found in remote.items() if found} == {}
    assert "worker_jobs/worker.py" in remote


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
        "self._run_command(connection, ALIVE.format(name=name))",
        "self.command = f'bash -c {shlex.quote(a)} {name}'",
    ],
)
def test_a_remote_command_that_is_not_quoted_would_be_found(source: str) -> None:
    assert unquoted(ast.parse(f"def f():\n    {source}"))
    assert not unquoted(ast.parse("def f():\n    line = shlex.join(words); client.exec_command(line)"))
