"""The quick way to a requirement's name says what packaging says."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pypi_scan.datasets import requirements
from pypi_scan.datasets.requirements import dependency_names

PIECES = [
    *[
        "six",
        "Zope.Interface",
        "a",
        "-",
        "_",
        ".",
        "[",
        "]",
        "[all]",
        "[a,b]",
        ",",
        " ",
        "  ",
        "(",
        ")",
        "\n",
        "\t",
        "é",
    ],
    *[
        ">=",
        "<=",
        "==",
        "!=",
        "~=",
        "<",
        ">",
        "===",
        "1",
        "1.0",
        "1.*",
        "2.0rc1",
        "1.post1",
        ".dev0",
        "+local",
        "1!1",
        "*",
    ],
    *[";", "extra == 'x'", "python_version < '3.8'", "and", "@ https://example.org/a.zip", "٣", "3"],
]


@given(st.lists(st.sampled_from(PIECES), max_size=9).map("".join))
def test_agrees_with_packaging(requirement: str) -> None:
    name = requirements._parsed_name(requirement)
    assert dependency_names([requirement]) == (([], 1) if name is None else ([name], 0))


@pytest.mark.parametrize(
    "requirement",
    [
        "six",
        "Six>=1.10,<2",
        "six (>=1.10, <2.0rc1)",
        "six[a,b]~=1.0; python_version < '3.8' and extra == 'x'",
        "six==1.*",
        "six !=1.5.*,>=1.0.post1 ; extra == 'x'",
    ],
)
def test_usual_ones_do_not_wait_for_packaging(requirement: str, monkeypatch: pytest.MonkeyPatch) -> None:
    requirements._is_marker(requirement.partition(";")[2])
    requirements._required_name.cache_clear()

    def fail(text: str) -> str:
        raise AssertionError(text)

    monkeypatch.setattr(requirements, "_parsed_name", fail)
    assert dependency_names([requirement]) == (["six"], 0)
