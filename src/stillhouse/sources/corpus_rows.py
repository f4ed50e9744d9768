"""Rows of published corpora whose fields stand in no one column: references within texts, tests in other shapes.

In: a row as it stands in the corpus. Out: fields of a query row (`messages`, `ground_truth`, `test_case`, ...); a
cell that cannot be read leaves its reason under `problem`, and curate rejects the row for want of a reference.
"""

from __future__ import annotations

import ast
import json
from collections.abc import Mapping, Sequence
from typing import Any

Row = Mapping[str, Any]
Fields = dict[str, Any]
MAX_TESTS = 1000  # of one query; the verifier runs ten
_MAX_LITERAL = 50_000_000


def answer_at_the_end(row: Row) -> Fields:
    """MetaMathQA: `The answer is: 42` ends its response."""
    _, found, answer = str(row.get("response") or "").rpartition("The answer is:")
    return {"ground_truth": answer.strip().rstrip(".")} if found else _unread("the response names no answer")


def logic_701(row: Row) -> Fields:
    """A problem, five options in columns, and the number of the right one."""
    options = [str(row.get(f"answer_option_{number}") or "").strip() for number in range(1, 6)]
    lines = [f"{letter}. {option}" for letter, option in zip("ABCDE", options, strict=True) if option]
    query = "\n".join([str(row.get("problem_statement") or "").strip(), *lines])
    number = str(row.get("correct_option_number") or "").strip()
    if number not in ("1", "2", "3", "4", "5"):
        return {"query": query, **_unread(f"correct_option_number is {number!r}")}
    return {"query": query, "ground_truth": "ABCDE"[int(number) - 1]}


def ultrachat(row: Row) -> Fields:
    """Texts that alternate between user and assistant."""
    said = row.get("data")
    texts = [str(text) for text in said] if isinstance(said, Sequence) and not isinstance(said, str) else []
    return {"messages": [{"role": ("user", "assistant")[at % 2], "content": text} for at, text in enumerate(texts)]}


def nemotron_if(row: Row) -> Fields:
    """The constraints stand in `args`, their kwargs under `instruction_kwargs`."""
    args = row.get("args")
    args = _literal(args) if isinstance(args, str) else args
    if not isinstance(args, Mapping):
        return _unread("args is no object")
    ids, kwargs = args.get("instruction_id_list"), args.get("instruction_kwargs")
    return {"instruction_constrain": {"instruction_id_list": ids, "kwargs": kwargs}}


def prime(row: Row) -> Fields:
    """The user turns of `prompt`, and tests in `reward_model.ground_truth`."""
    prompt = row.get("prompt")
    turns = [turn for turn in prompt if isinstance(turn, Mapping)] if isinstance(prompt, Sequence) else []
    reward = row.get("reward_model")
    tests = reward.get("ground_truth") if isinstance(reward, Mapping) else None
    return {
        "messages": [dict(turn) for turn in turns if turn.get("role") != "system"],
        "source": row.get("data_source"),
        **_tests(tests),
    }


def deepcoder(row: Row) -> Fields:
    """Tests as a list of cases, or as `inputs` and `outputs`; the function's name may stand in the metadata."""
    metadata = row.get("metadata")
    metadata = _literal(metadata) if isinstance(metadata, str) else metadata
    name = metadata.get("func_name") if isinstance(metadata, Mapping) else None
    return _tests(row.get("tests"), name)


def verifiable_coding(row: Row) -> Fields:
    """`verification_info` with a language and test cases; the language decides the fence that is asked for."""
    info = row.get("verification_info")
    info = _literal(info) if isinstance(info, str) else info
    if not isinstance(info, Mapping):
        return _unread("verification_info is no object")
    return {"language": info.get("language") or "python", **_tests(info.get("test_cases"))}


def codeforces(row: Row) -> Fields:
    """Inputs and outputs of the public, then private, then generated tests."""
    inputs: list[str] = []
    outputs: list[str] = []
    for name in ("public_tests", "private_tests", "generated_tests"):
        tests = row.get(name)
        if isinstance(tests, Mapping):
            inputs += tests.get("input") or []
            outputs += tests.get("output") or []
    return _tests({"inputs": inputs, "outputs": outputs})


def opencoder(row: Row) -> Fields:
    """Assert statements in `testcase`, of the function `entry_point`."""
    return _asserts(row.get("testcase"), row.get("entry_point"))


def acecode(row: Row) -> Fields:
    """Assert statements in `test_cases`."""
    return _asserts(row.get("test_cases"), None)


def openthoughts(row: Row) -> Fields:
    """`test_cases` as JSON text of inputs and outputs."""
    return _tests(row.get("test_cases"))


def kodcode(row: Row) -> Fields:
    """Of the pytest module in `test` the functions that hold assert statements alone."""
    info = row.get("test_info")
    first = info[0] if isinstance(info, Sequence) and info and isinstance(info[0], Mapping) else {}
    try:
        module = ast.parse(str(row.get("test") or ""))
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        return _unread(f"test is no Python: {error}")
    found: list[str] = []
    for node in module.body:
        if isinstance(node, ast.FunctionDef) and node.name.startswith("test"):
            body = node.body[1:] if ast.get_docstring(node, clean=False) is not None else node.body
            if body and all(isinstance(statement, ast.Assert) for statement in body) and not node.args.args:
                found += [ast.unparse(statement) for statement in body]
    return _asserts(found, first.get("function_name"))


def _unread(problem: str) -> Fields:
    return {"problem": problem}


def _literal(text: str) -> Any:
    """A value from JSON, or from a Python literal as some corpora have it; None where it is neither."""
    if len(text) > _MAX_LITERAL:
        return None
    for read in (json.loads, ast.literal_eval):
        try:
            return read(text)
        except (ValueError, SyntaxError, RecursionError, MemoryError, TypeError):
            continue
    return None


def _asserts(given: Any, name: Any) -> Fields:
    lines = given if isinstance(given, Sequence) and not isinstance(given, str) else []
    cases = [line.strip() for line in lines if isinstance(line, str) and line.strip().startswith("assert")]
    if not cases:
        return _unread("there are no assert statements")
    case: Fields = {"call_type": "assert", "fn_name": str(name or ""), "assert_case": cases[:MAX_TESTS]}
    return {"test_case": case}


def _tests(given: Any, name: Any = None) -> Fields:
    """A test_case from `{"inputs", "outputs"[, "fn_name"]}` or from a list of cases with input and output."""
    tests = _literal(given) if isinstance(given, str) else given
    if isinstance(tests, Sequence) and not isinstance(tests, str):
        cases = [test for test in tests if isinstance(test, Mapping)]
        names = [case.get("fn_name") or _of_metadata(case) for case in cases]
        calls = [case.get("type", case.get("testtype")) in ("function_call", "functional") for case in cases]
        name = next((found for found in names if found), name)
        tests = {
            "inputs": [case.get("input") for case in cases],
            "outputs": [case.get("output") for case in cases],
            "fn_name": name if any(calls) or any(case.get("fn_name") for case in cases) else None,
        }
    if not isinstance(tests, Mapping) or not tests.get("inputs") or not tests.get("outputs"):
        return _unread("there are no tests with inputs and outputs")
    inputs, outputs = list(tests["inputs"])[:MAX_TESTS], list(tests["outputs"])[:MAX_TESTS]
    if len(inputs) != len(outputs):
        return _unread(f"{len(inputs)} inputs and {len(outputs)} outputs")
    called = tests.get("fn_name")
    if not called:
        std = {"call_type": "std", "inputs": [_text(v) for v in inputs], "outputs": [_text(v) for v in outputs]}
        return {"test_case": std}
    if not str(called).isidentifier():
        return _unread(f"{called!r} is no name of a function")
    made = [_call(str(called), given, wanted) for given, wanted in zip(inputs, outputs, strict=True)]
    return _asserts(made, called)


def _of_metadata(case: Row) -> Any:
    metadata = case.get("metadata")
    return metadata.get("func_name") if isinstance(metadata, Mapping) else None


def _text(value: Any) -> str:
    """What goes to stdin or comes from stdout: a text, or lines."""
    if isinstance(value, Sequence) and not isinstance(value, str):
        return "\n".join(str(line) for line in value)
    return str(value)


def _call(name: str, given: Any, wanted: Any) -> str:
    """`assert f(1, 2) == 3`. Arguments: a list, or a JSON value a line; one expected value may stand in a list."""
    if isinstance(given, str):
        given = [_value(line) for line in given.splitlines() if line.strip()]
    arguments = given if isinstance(given, Sequence) else [given]
    if isinstance(wanted, str):
        wanted = _value(wanted)
    elif isinstance(wanted, Sequence) and len(wanted) == 1:
        wanted = wanted[0]
    return f"assert {name}({', '.join(repr(argument) for argument in arguments)}) == {wanted!r}"


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text
