"""The command simplify: expressions, files of them, rules and certificates."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape

from sysgym.cli.app import app
from sysgym.cli.show import bar, out, print_json, print_table, show_written
from sysgym.cli.words import Json
from sysgym.core.errors import SettingError


@app.command()
def simplify(
    given: Annotated[
        str, typer.Argument(metavar="[EXPRESSION|FILE]", help="An expression, or a file of them (.txt, .jsonl).")
    ] = "",
    method: Annotated[
        list[str] | None,
        typer.Option(help="greedy, beam, anneal, random, agent, or a rival: z3, z3_ctx, egglog, sympy; repeatable."),
    ] = None,
    time_limit: Annotated[float | None, typer.Option(help="Seconds an expression.")] = None,
    seed: Annotated[int, typer.Option(help="Seed of the methods that draw.")] = 0,
    field: Annotated[str, typer.Option(help="Field of a .jsonl file that holds the expression.")] = "expr",
    bools: Annotated[list[str] | None, typer.Option("--bool", help="Variable that is Bool; repeatable.")] = None,
    lenient: Annotated[bool, typer.Option("--lenient", help="Convert between Int and Bool.")] = False,
    certificate: Annotated[Path | None, typer.Option(help="Write certificates there, one JSON object a line.")] = None,
    check: Annotated[bool, typer.Option("--check", help="Replay the certificates in FILE instead.")] = False,
    generated: Annotated[
        int, typer.Option("--generate", help="Compare methods on so many generated expressions instead.")
    ] = 0,
    distribution: Annotated[
        str, typer.Option(help="Of generated expressions: neurewriter, halide, fuzz, inverse.")
    ] = "neurewriter",
    prove_rules: Annotated[
        bool, typer.Option("--prove-rules", help="Prove the rules in FILE instead, or the published ones.")
    ] = False,
    output: Annotated[
        Path | None, typer.Option(help="With a file: write the shortest of each expression there, one a line.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Simplify an expression, compare methods on a file of them or on generated ones, check certificates, prove rules.

    Example: sysgym simplify "min(v0, v1) <= max(v1, v2)" --method greedy
    """
    if prove_rules:
        _prove_rules(given, certificate, as_json)
    elif generated:
        _compare_generated(generated, distribution, method or ["greedy", "beam"], time_limit, seed, as_json)
    elif check:
        _check_certificates(Path(given), as_json)
    elif Path(given).suffix in (".txt", ".jsonl"):
        _compare_methods(
            Path(given), field, method or ["greedy", "beam"], time_limit, seed, bools or (), lenient, certificate,
            output, as_json,
        )  # fmt: skip
    else:
        if output:
            raise SettingError("--output goes with a file of expressions (.txt, .jsonl); leave it out with one")
        _simplify_one(given, method or ["beam"], time_limit, seed, bools or (), lenient, certificate, as_json)


def _simplify_one(
    text: str, methods: Sequence[str], time_limit: float | None, seed: int, bools: Sequence[str], lenient: bool,
    certificate: Path | None, as_json: bool,
) -> None:  # fmt: skip
    from sysgym.core.files import atomic_write
    from sysgym.exprsimp import simplify as simplified

    found = {name: simplified(text, name, time_limit, seed=seed, bools=bools, lenient=lenient) for name in methods}
    rows = [
        {"method": name, "text": one.text, "length": one.length, "size": one.size, "seconds": one.seconds}
        for name, one in found.items()
    ]
    if certificate:
        with atomic_write(certificate) as handle:
            handle.writelines(json.dumps(one.certificate) + "\n" for one in found.values())
    if as_json:
        for row, one in zip(rows, found.values(), strict=True):
            print_json(row | {"steps": list(one.steps)})
        return
    for name, one in found.items():
        out.print(f"{name}: {escape(one.text)}", highlight=False, soft_wrap=True)
        for step in one.steps:
            out.print(f"  {escape(step)}", highlight=False, soft_wrap=True)


def _compare_methods(
    path: Path, field: str, methods: Sequence[str], time_limit: float | None, seed: int, bools: Sequence[str],
    lenient: bool, certificate: Path | None, output: Path | None, as_json: bool,
) -> None:  # fmt: skip
    from sysgym.core.files import atomic_write
    from sysgym.exprsimp import read_expressions

    if certificate:
        raise SettingError("--certificate goes with one expression; leave it out with a file")
    texts = read_expressions(path, field)
    rows = _compare(path.name, texts, methods, time_limit, seed, as_json, bools, lenient)
    if output:
        with atomic_write(output) as handle:
            handle.writelines(min(found, key=len) + "\n" for found in zip(*(row["texts"] for row in rows), strict=True))
        show_written(output, as_json)


def _compare_generated(
    count: int, distribution: str, methods: Sequence[str], time_limit: float | None, seed: int, as_json: bool
) -> None:
    from sysgym.exprsimp import to_text
    from sysgym.exprsimp.generator import generate

    texts = [to_text(made) for made in generate(count, distribution, seed, reducible=True)]
    _compare(f"{distribution}, seed {seed}", texts, methods, time_limit, seed, as_json)


def _compare(
    title: str, texts: Sequence[str], methods: Sequence[str], time_limit: float | None, seed: int, as_json: bool,
    bools: Sequence[str] = (), lenient: bool = False,
) -> list[dict[str, Any]]:  # fmt: skip
    from sysgym.exprsimp import ExpressionError
    from sysgym.exprsimp.comparison import compare

    with bar(f"simplifying {title}") as advance:
        try:
            rows = compare(texts, methods, time_limit, seed, advance, bools=bools, lenient=lenient)
        except ExpressionError as error:
            raise ExpressionError(f"{title}, {error}") from error
    if as_json:
        for row in rows:
            print_json({name: value for name, value in row.items() if name != "texts"})
        return rows
    table = [
        {"method": row["method"], "length": row["length_share"], "size": row["size_share"], "other": row["other_share"],
         "constants": f"{row['constants']} of {row['constant_inputs']}", "median ms": row["median_ms"],
         "mean ms": row["mean_ms"], "different": row["different"]}
        for row in rows
    ]  # fmt: skip
    print_table(
        f"{title}: {len(texts)} expressions; length, size: shares of characters and nodes saved; other: of characters, "
        "where no method found a constant; different: not equal to what was given (must be 0)",
        table,
    )
    return rows


def _check_certificates(path: Path, as_json: bool) -> None:
    from sysgym.core.errors import InputFileError
    from sysgym.exprsimp.certificate import CertificateError
    from sysgym.exprsimp.simplification import check as checked

    count = 0
    try:
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
            record = json.loads(line)
            if not isinstance(record, dict):
                raise InputFileError(path, "not a certificate; expected a JSON object a line", line=number)
            try:
                checked(record)
            except CertificateError as error:
                raise InputFileError(path, str(error), line=number) from error
            count += 1
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise InputFileError(path, f"not a file of certificates: {error}") from error
    if not count:
        raise InputFileError(path, "holds no certificate; expected one JSON object a line")
    if as_json:
        print_json({"certificates": count})
    else:
        out.print(f"{count} certificates replayed, every step holds", highlight=False)


def _prove_rules(given: str, certificate: Path | None, as_json: bool) -> None:
    from sysgym.exprsimp.proofs import prove_all, write_certificates
    from sysgym.exprsimp.rules.table import PUBLISHED, read_rules

    path = Path(given) if given else PUBLISHED
    rules = read_rules(path)
    proofs = []
    with bar(f"proving {path.name}") as advance:
        for count, proof in enumerate(prove_all(rules), 1):
            proofs.append(proof)
            advance(count / len(rules), proof.id)
    if certificate:
        write_certificates(proofs, certificate)
    failed = [(rule, proof) for rule, proof in zip(rules, proofs, strict=True) if proof.status != "proved"]
    if as_json:
        for rule, proof in zip(rules, proofs, strict=True):
            example = None if proof.counterexample is None else dict(proof.counterexample)
            print_json({"id": rule.id, "rule": rule.text, "direction": rule.direction, "status": proof.status,
                         "counterexample": example, "milliseconds": proof.milliseconds})  # fmt: skip
    else:
        seconds = sum(proof.milliseconds for proof in proofs) / 1000
        proved = len(rules) - len(failed)
        out.print(f"{path.name}: {proved} of {len(rules)} rules proved in {seconds:.1f} s", highlight=False)
    if failed:
        rule, proof = failed[0]
        raise SettingError(f"{len(failed)} of {len(rules)} rules are not proved; the first is {rule.text}; {proof}")
