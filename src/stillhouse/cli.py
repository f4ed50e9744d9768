"""The command line: one verb a function, everything else imported when a verb runs.

Exit codes: 0 done; 2 the user's mistake; 3 stopped by the budget; 4 done, but something waits; 130 interrupted;
1 a bug, with a traceback. `--json` prints one machine-readable object where a verb has a result.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from stillhouse.pipeline import Outcome

app = typer.Typer(
    name="stillhouse",
    help="Verified reasoning datasets, one per teacher over the same queries, and which teacher to distil from.",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    add_completion=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

RecipeFile = Annotated[Path, typer.Argument(metavar="RECIPE", help="A recipe, as `stillhouse init` writes one.")]
RunFolder = Annotated[Path, typer.Argument(metavar="RUN", help="The folder of a run.")]
Json = Annotated[bool, typer.Option("--json", help="Print one machine-readable object.")]


def _tell(value: dict[str, Any], as_json: bool, lines: list[str] | None = None) -> None:
    """A verb's result: JSON, or its lines for people."""
    if as_json:
        typer.echo(json.dumps(value, ensure_ascii=False, default=str))
    else:
        for line in lines if lines is not None else [f"{k}: {v}" for k, v in value.items()]:
            typer.echo(line)


def _end(outcome: Outcome, as_json: bool) -> None:
    _tell(outcome.as_dict(), as_json, outcome.lines())
    raise typer.Exit(outcome.exit_code)


@app.command()
def demo(
    train: Annotated[
        bool, typer.Option("--train", help="Also train and evaluate a small student per teacher.")
    ] = False,
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="The run folder.")] = Path("runs/demo"),
    as_json: Json = False,
) -> None:
    """The whole path in minutes: embedded models, no network."""
    from stillhouse.verbs.demo import demo as run_demo

    _end(run_demo(out, train=train, quiet=as_json), as_json)


@app.command()
def init(
    file: Annotated[Path, typer.Argument(metavar="[FILE]", help="Where to write it.")] = Path("recipe.yaml"),
) -> None:
    """Write a commented recipe to start from."""
    from stillhouse.verbs.init import init as write_recipe

    write_recipe(file)
    typer.echo(f"wrote {file}: fill in your queries and teachers, then `stillhouse run {file} --dry-run`")


@app.command()
def plan(
    recipe: RecipeFile,
    pilot: Annotated[int | None, typer.Option("--pilot", metavar="N", help="Queries of the pilot.")] = None,
    out: Annotated[Path | None, typer.Option("--out", metavar="DIR", help="The run folder (runs/NAME).")] = None,
    as_json: Json = False,
) -> None:
    """Ask a small stratified pilot, then forecast dollars, hours and verified rows, with intervals."""
    from stillhouse.verbs.plan import plan as forecast

    _end(forecast(recipe, out, pilot=pilot, quiet=as_json), as_json)


@app.command()
def run(
    recipe: RecipeFile,
    out: Annotated[Path | None, typer.Option("--out", metavar="DIR", help="The run folder (runs/NAME).")] = None,
    until: Annotated[str | None, typer.Option("--until", metavar="STAGE", help="The last stage to run.")] = None,
    engine: Annotated[str | None, typer.Option("--engine", help="local or ray.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Ask nothing; print what would be asked.")] = False,
    metrics: Annotated[
        int | None,
        typer.Option("--metrics", min=0, max=65535, metavar="PORT", help="Serve Prometheus metrics on 127.0.0.1:PORT."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Run a recipe. To run it again is to go on."""
    from stillhouse.pipeline import run_recipe

    if dry_run:
        from stillhouse.verbs.dry_run import dry_run as tell

        _end(tell(recipe, out, until=until), as_json)
    _end(run_recipe(recipe, out, until=until, engine=engine, quiet=as_json, metrics=metrics), as_json)


def _stage(name: str, help_text: str) -> None:
    def verb(run: RunFolder, as_json: Json = False) -> None:
        from stillhouse.pipeline import run_stage

        _end(run_stage(run, name, quiet=as_json), as_json)

    app.command(name, help=help_text)(verb)


_stage("curate", "Clean, deduplicate and decontaminate the queries of a run.")
_stage("distill", "Ask the teachers of a run, verify, and ask again.")
_stage("filter", "Filter the verified responses of a run.")


@app.command()
def export(
    run: RunFolder,
    push: Annotated[str | None, typer.Option("--push", metavar="REPO", help="Upload to this hub repository.")] = None,
    shape: Annotated[str | None, typer.Option("--as", metavar="SHAPE", help="am, sharegpt or messages.")] = None,
    as_json: Json = False,
) -> None:
    """Write one dataset per teacher."""
    from stillhouse.pipeline import run_stage

    _end(run_stage(run, "export", quiet=as_json, push=push, shape=shape), as_json)


@app.command()
def compare(
    datasets: Annotated[list[Path], typer.Argument(metavar="RUN | A B ...", help="A run, or datasets that exist.")],
    out: Annotated[Path | None, typer.Option("--out", metavar="DIR", help="Where the report goes.")] = None,
    tokenizer: Annotated[
        str, typer.Option("--tokenizer", metavar="NAME", help="Of datasets: what counts tokens, as in a recipe.")
    ] = "embedded",
    exact: Annotated[
        bool, typer.Option("--exact-tokens", help="Of datasets: count every reply, not 20,000 queries of each.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Compare the teachers of a run, or datasets that exist already."""
    from stillhouse.pipeline import compare_existing, run_stage

    if len(datasets) == 1 and (datasets[0] / "recipe.yaml").is_file():
        _end(run_stage(datasets[0], "compare", quiet=as_json), as_json)
    _end(compare_existing(datasets, out, tokenizer=tokenizer, exact=exact, quiet=as_json), as_json)


@app.command()
def train(
    run: RunFolder,
    to: Annotated[
        str | None,
        typer.Option("--to", metavar="TRAINER", help="Hand off: llamafactory, axolotl, ms-swift, verl or trl."),
    ] = None,
    base: Annotated[
        str | None, typer.Option("--base", metavar="BASE", help="`embedded`, a GGUF file, a folder or a hub name.")
    ] = None,
    check: Annotated[bool, typer.Option("--check", help="Render samples and prove that thinking is trained.")] = False,
    as_json: Json = False,
) -> None:
    """Train one student per dataset, or write data and config for a trainer (--to)."""
    from stillhouse.pipeline import run_stage

    _end(run_stage(run, "train", quiet=as_json, to=to, base=base, check=check), as_json)


@app.command()
def evaluate(
    run: Annotated[str, typer.Argument(metavar="RUN|ENDPOINT", help="A run, or an endpoint's address.")],
    benchmarks: Annotated[
        str | None, typer.Option("--benchmarks", metavar="NAME:N[=FILE],...", help="As in aime2024:64,math500:4.")
    ] = None,
    limit: Annotated[int | None, typer.Option("--limit", min=1, metavar="N", help="Items per benchmark.")] = None,
    teachers: Annotated[bool, typer.Option("--teachers", help="Of a run: ask its teachers too.")] = False,
    of: Annotated[str | None, typer.Option("--of", metavar="NAME,...", help="Of a run: ask these alone.")] = None,
    model: Annotated[str | None, typer.Option("--model", help="Of an endpoint: the model that it serves.")] = None,
    key: Annotated[
        str | None, typer.Option("--api-key-env", metavar="VARIABLE", help="Of an endpoint: what holds its key.")
    ] = None,
    price: Annotated[
        str | None, typer.Option("--price", metavar="IN:OUT", help="Of an endpoint: dollars per million tokens.")
    ] = None,
    budget: Annotated[
        float | None, typer.Option("--budget-usd", min=0, help="Of an endpoint: at most so much.")
    ] = None,
    max_tokens: Annotated[
        int | None, typer.Option("--max-tokens", min=1, help="Of an endpoint: of a reply, instead of the benchmark's.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", metavar="DIR", help="Of an endpoint: the folder (runs/evaluate-MODEL).")
    ] = None,
    shape: Annotated[
        str | None, typer.Option("--as", metavar="HARNESS", help="Also write the scores as lighteval or lm-eval does.")
    ] = None,
    against: Annotated[
        Path | None,
        typer.Option("--against", metavar="RESULTS", help="Set results of lighteval or lm-eval beside the scores."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Evaluate students and teachers of a run, or an endpoint, on benchmarks."""
    from stillhouse.verbs.evaluate import evaluate as ask

    _end(
        ask(
            run, benchmarks=benchmarks, limit=limit, teachers=teachers, of=of, model=model, api_key_env=key,
            price=price, budget_usd=budget, max_tokens=max_tokens, out=out, shape=shape, against=against, quiet=as_json,
        ),
        as_json,
    )  # fmt: skip


_stage("report", "Write report.html from the run folder.")


@app.command()
def verify(
    source: Annotated[Path, typer.Argument(metavar="IN|RUN", help="A file of responses, or a run.")],
    out: Annotated[Path | None, typer.Option("--out", metavar="OUT", help="Where the verdicts go.")] = None,
    category: Annotated[str | None, typer.Option("--category", help="Of the rows that name none.")] = None,
    diff: Annotated[bool, typer.Option("--diff", help="Of a run: show which verdicts flipped.")] = False,
    adopt: Annotated[
        bool, typer.Option("--adopt", help="Of a run: let today's verdicts decide what is asked.")
    ] = False,
    workers: Annotated[int | None, typer.Option("--workers", metavar="N", help="Processes (all cores).")] = None,
    engine: Annotated[str | None, typer.Option("--engine", help="Of a file: local or ray.")] = None,
    as_json: Json = False,
) -> None:
    """Judge a file of responses, or the journal of a run once more."""
    from stillhouse.verbs.verify import verify as judge

    told = judge(source, out, category=category, diff=diff, adopt=adopt, workers=workers, engine=engine, quiet=as_json)
    _end(told, as_json)


@app.command()
def status(run: RunFolder, as_json: Json = False) -> None:
    """How far a run is; works while it runs."""
    from stillhouse.verbs.status import status as read_status

    value, lines = read_status(run)
    _tell(value, as_json, lines)


@app.command()
def audit(
    run: RunFolder,
    verifiers: Annotated[bool, typer.Option("--verifiers", help="Sample verdicts for a second opinion.")] = False,
    sample: Annotated[int | None, typer.Option("--sample", metavar="N", help="Of so many verdicts (200).")] = None,
    seed: Annotated[int | None, typer.Option("--seed", metavar="N", help="Of the sample (1).")] = None,
    judge: Annotated[
        str | None, typer.Option("--judge", metavar="NAME", help="Ask this judge of the recipe (audit, math, ...).")
    ] = None,
    as_json: Json = False,
) -> None:
    """Prove from the journal what was asked, paid, in doubt, and paid twice."""
    if verifiers:
        from stillhouse.verbs.audit_verifiers import audit_verifiers

        _end(audit_verifiers(run, sample=sample, seed=seed, judge=judge, quiet=as_json), as_json)
    from stillhouse.records import UserMistake
    from stillhouse.verbs.audit import audit as prove

    given = {"--sample": sample, "--seed": seed, "--judge": judge}
    if any(value is not None for value in given.values()):
        raise UserMistake(f"{' and '.join(k for k, v in given.items() if v is not None)}: of `audit RUN --verifiers`")
    value, lines = prove(run)
    _tell(value, as_json, lines)


@app.command()
def serve(
    run: RunFolder,
    host: Annotated[str, typer.Option("--host", metavar="ADDRESS", help="Where to listen.")] = "127.0.0.1",
    port: Annotated[int, typer.Option("--port", metavar="N", help="0 takes a free port.")] = 8765,
    open_browser: Annotated[bool, typer.Option("--open", help="Open a browser.")] = False,
) -> None:
    """Show the report with every trace of the run, on this machine only."""
    from stillhouse.verbs.serve import serve as listen

    listen(run, host=host, port=port, open_browser=open_browser)


@app.command()
def sources(as_json: Json = False) -> None:
    """The published corpora that have a ready mapping."""
    from stillhouse.verbs.sources import sources as listed

    value, lines = listed()
    _tell(value, as_json, lines)


@app.command()
def doctor(as_json: Json = False) -> None:
    """What this machine has, what it lacks, and the command that would change it."""
    from stillhouse.verbs.doctor import doctor as look

    value, lines = look()
    _tell(value, as_json, lines)


@app.callback(invoke_without_command=True)
def _top(version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False) -> None:
    if version:
        from stillhouse import __version__

        typer.echo(__version__)
        raise typer.Exit


def main() -> None:
    """The console script: mistakes are told in lines, bugs with a traceback."""
    from stillhouse.records import UserMistake

    try:
        sys.exit(app(standalone_mode=True))
    except UserMistake as mistake:
        for problem in mistake.problems:
            print(problem, file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        sys.exit(130)


if __name__ == "__main__":
    main()
