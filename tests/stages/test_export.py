"""Export: what was kept and nothing else, one strict schema, readable by `datasets`, and terms that hold."""

from __future__ import annotations

import sys
import types
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import yaml
from made_run import Made, MadeTeacher, make_run, word_tokens

from stillhouse.engines.engine import ShardFailed
from stillhouse.engines.local import Local
from stillhouse.records import Part, UserMistake, normal_form
from stillhouse.stages.export import export
from stillhouse.store.tables import DATASET
from stillhouse.store.tokens import TokenCounter

WORDS = Part("made_run:Words")
TEACHERS = (
    MadeTeacher("am", 0.75, 60),
    MadeTeacher("qwen", 0.5, 40, terms="unknown"),
    MadeTeacher("r1", 0.5, 40, terms="no"),
)
SOURCES = [{"name": "made-0", "licence": "mit", "terms": "yes"}, {"name": "made-1", "licence": "", "terms": "unknown"}]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    run = make_run(tmp_path_factory.mktemp("run"), TEACHERS, queries=120)
    export(run.folder, teachers=run.specs, tokenizer=word_tokens, sources=SOURCES)
    return run


def rows(made: Made, teacher: str, file: str = "superset") -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = pq.read_table(made.folder / "5-datasets" / teacher / f"{file}.parquet").to_pylist()
    return found


def kept(made: Made, teacher: str) -> dict[str, dict[str, Any]]:
    accepted = sorted((r for r in made.replies[teacher] if r["passed"]), key=lambda r: r["query"])
    return {reply["query"]: reply for place, reply in enumerate(accepted) if place % 17}


@pytest.mark.parametrize("teacher", ["am", "qwen"])
def test_the_superset_is_what_was_accepted_and_no_filter_dropped(made: Made, teacher: str) -> None:
    wanted = kept(made, teacher)
    found = rows(made, teacher)
    assert [row["key"] for row in found] == sorted(wanted)
    queries = {query.key: query for query in made.queries}
    for row in found:
        query, reply = queries[row["key"]], wanted[row["key"]]
        parts = normal_form(reply["text"])
        assert (row["id"], row["category"], row["source"]) == (query.id, query.category, query.source)
        assert (row["thinking"], row["answer"]) == (parts.thinking, parts.answer)
        assert row["messages"][0]["content"] == query.text
        assert row["messages"][-1] == {"role": "assistant", "content": row["response"]}
        assert normal_form(row["response"]) == parts
        assert (row["response_key"], row["attempt"]) == (reply["key"], reply["attempt"])
        assert row["tokens"] == len(row["response"].split())


def test_the_parallel_set_is_the_same_queries_for_every_teacher(made: Made) -> None:
    shared = set.intersection(*(set(kept(made, t.name)) for t in TEACHERS))
    assert {row["key"] for row in rows(made, "am", "parallel")} == shared
    assert {row["key"] for row in rows(made, "qwen", "parallel")} == shared


def test_the_schema_is_strict_with_small_groups_and_a_page_index(made: Made) -> None:
    file = pq.ParquetFile(made.folder / "5-datasets" / "am" / "superset.parquet")
    assert file.schema_arrow.equals(DATASET)
    assert file.metadata.row_group(0).num_rows <= 1000
    assert file.metadata.row_group(0).column(0).has_offset_index


def test_terms_no_writes_a_card_and_no_row(made: Made) -> None:
    place = made.folder / "5-datasets" / "r1"
    assert [file.name for file in place.iterdir()] == ["README.md"]
    card = (place / "README.md").read_text()
    assert "do not allow training" in card and "no-training-rows" in card


def test_terms_that_turn_to_no_take_the_rows_away(tmp_path: Path) -> None:
    run = make_run(tmp_path, queries=20)
    export(run.folder, teachers=run.specs, shape="am")
    assert (tmp_path / "5-datasets" / "am" / "am" / "math.jsonl").exists()
    forbidden = [type(spec)(**{f: getattr(spec, f) for f in spec.__slots__} | {"terms": "no"}) for spec in run.specs]
    counts = export(run.folder, teachers=forbidden)
    assert counts["withheld"] > 0
    assert not list(tmp_path.glob("5-datasets/*/*.parquet")) and not list(tmp_path.glob("5-datasets/*/*/*"))


def test_rows_of_a_source_that_may_not_be_trained_on_are_held_back(tmp_path: Path) -> None:
    run = make_run(tmp_path, queries=40)
    counts = export(run.folder, teachers=run.specs, sources=[SOURCES[0], {"name": "made-1", "terms": "no"}])
    assert {row["source"] for row in rows(run, "am")} == {"made-0"}
    assert counts["withheld"] > 0
    assert set(pq.read_table(tmp_path / "5-datasets" / "queries.parquet")["source"].to_pylist()) == {"made-0"}
    assert "held back" in (tmp_path / "5-datasets" / "am" / "README.md").read_text()


def test_the_cards_state_counts_terms_and_sources(made: Made) -> None:
    place = made.folder / "5-datasets"
    card = (place / "am" / "README.md").read_text()
    head = yaml.safe_load(card.split("---")[1])
    assert [f["split"] for f in head["configs"][0]["data_files"]] == ["superset", "parallel"]
    assert f"| rows | {len(rows(made, 'am')):,} | {len(rows(made, 'am', 'parallel')):,} |" in card
    assert "apache-2.0" in card and "| made-0 | mit | yes |" in card and "| made-1 | not stated | unknown |" in card
    assert "UNKNOWN terms" in (place / "qwen" / "README.md").read_text()
    configs = yaml.safe_load((place / "README.md").read_text().split("---")[1])["configs"]
    assert [c["config_name"] for c in configs] == ["am", "qwen", "queries", "rejected"]


def test_names_in_a_card_are_never_markup(tmp_path: Path) -> None:
    run = make_run(tmp_path, queries=10)
    export(run.folder, teachers=run.specs, sources=[{"name": "a|b\n# <b>x</b>", "licence": "[x](http://y)"}])
    card = (tmp_path / "5-datasets" / "am" / "README.md").read_text()
    assert "a\\|b # \\<b\\>x\\</b\\>" in card and "\\[x\\](http://y)" in card


def load(folder: Path, cache: Path, name: str | None = None) -> Any:
    datasets = pytest.importorskip("datasets")
    datasets.disable_progress_bars()
    return datasets.load_dataset(str(folder), name, cache_dir=str(cache))


def test_datasets_loads_every_config(made: Made, tmp_path: Path) -> None:
    place = made.folder / "5-datasets"
    found = load(place, tmp_path, "am")
    assert found["superset"].num_rows == len(rows(made, "am"))
    assert found["parallel"][0]["messages"][-1]["role"] == "assistant"
    assert load(place, tmp_path, "queries")["train"].num_rows == 120
    assert load(place, tmp_path, "rejected")["train"].num_rows == 1
    assert load(place / "qwen", tmp_path)["superset"].num_rows == len(rows(made, "qwen"))


@pytest.mark.parametrize("shape", ["am", "sharegpt", "messages"])
def test_each_shape_loads_and_reads_back_as_the_same_records(made: Made, tmp_path: Path, shape: str) -> None:
    from stillhouse.sources.responses import Responses

    export(made.folder, teachers=made.specs, tokenizer=word_tokens, sources=SOURCES, shape=shape)
    place = made.folder / "5-datasets" / "am" / shape
    loaded = load(place, tmp_path)
    wanted = {row["key"]: row for row in rows(made, "am")}
    assert loaded["train" if shape == "am" else "superset"].num_rows == len(wanted)
    files = sorted(place.glob("*.jsonl")) if shape == "am" else [place / "superset.jsonl"]
    replies = [reply for file in files for reply in Responses(str(file))()]
    assert len(replies) == len(wanted)
    for reply in replies:
        row = wanted[reply.query.key]
        parts = reply.response.parts
        assert (parts.thinking, parts.answer) == (row["thinking"], row["answer"])
        assert (reply.query.category, reply.query.source) == (row["category"], row["source"])
        assert (reply.query.ground_truth, reply.query.system) == (row["ground_truth"], row["system"])
        assert (reply.score, reply.perplexity, reply.model_name) == (row["verify_score"], row["ppl"], row["model"])


def test_our_own_export_reads_back_as_the_same_records(made: Made) -> None:
    from stillhouse.sources.responses import Responses

    wanted = rows(made, "am")
    replies = list(Responses(str(made.folder / "5-datasets" / "am" / "superset.parquet"))())
    assert [reply.query.key for reply in replies] == [row["key"] for row in wanted]
    for reply, row in zip(replies, wanted, strict=True):
        assert (reply.response.parts.thinking, reply.response.parts.answer) == (row["thinking"], row["answer"])
        assert (reply.score, reply.perplexity) == (row["verify_score"], row["ppl"])


def test_a_split_without_rows_does_not_keep_the_others_from_loading(tmp_path: Path) -> None:
    """One teacher kept nothing, so that the parallel set is empty."""
    run = make_run(tmp_path / "run", (MadeTeacher("am", 0.9, 20), MadeTeacher("none", 1e-12, 20)), queries=20)
    (run.folder / "1-queries" / "rejected.parquet").unlink()
    for shape in ("am", "sharegpt"):
        counts = export(run.folder, teachers=run.specs, tokenizer=word_tokens, shape=shape)
    place = run.folder / "5-datasets"
    assert (counts["parallel"], counts["none"]) == (0, 0)
    found = load(place, tmp_path / "cache", "am")
    assert {name: split.num_rows for name, split in found.items()} == {"superset": counts["am"]}
    assert load(place / "am", tmp_path / "cache")["superset"].num_rows == counts["am"]
    assert load(place / "am" / "sharegpt", tmp_path / "cache")["superset"].num_rows == counts["am"]
    configs = yaml.safe_load((place / "README.md").read_text().split("---")[1])["configs"]
    assert [config["config_name"] for config in configs] == ["am", "queries"]
    assert "There are no rows" in (place / "none" / "README.md").read_text()


def test_the_card_says_how_it_was_made_and_none_of_the_recipe_s_addresses(tmp_path: Path) -> None:
    run = make_run(tmp_path, queries=60)
    recipe = "teachers: [{base_url: 'http://secret.internal/v1'}]\nverify: {versions: {math: math-7}}\n"
    (tmp_path / "recipe.yaml").write_text(recipe)
    export(run.folder, teachers=run.specs, tokenizer=word_tokens)
    card = (tmp_path / "5-datasets" / "am" / "README.md").read_text()
    found = rows(run, "am")
    first = sum(row["attempt"] == 1 for row in found)
    assert f"| accepted at the first attempt | {first:,} |" in card
    assert "- verifiers: math math-7" in card and "back\\_to\\_back" in card
    lengths = sorted(row["tokens"] for row in found)
    assert f"| tokens by word\\_tokens | {sum(lengths):,} |" in card
    assert "secret.internal" not in card


def test_an_unknown_shape_is_told(made: Made) -> None:
    with pytest.raises(UserMistake, match="the shapes are am, sharegpt, messages"):
        export(made.folder, teachers=made.specs, shape="alpaca")


def test_a_response_without_its_query_stops_the_export(tmp_path: Path) -> None:
    run = make_run(tmp_path, queries=10)
    file = tmp_path / "1-queries" / "kept.parquet"
    pq.write_table(pq.read_table(file).slice(5), file)
    with pytest.raises(ShardFailed, match="is not among the kept ones"):
        export(run.folder, teachers=run.specs)
    assert not list(tmp_path.glob("5-datasets/*/*.parquet"))
    assert not list(tmp_path.glob("5-datasets/*/.*"))


class FakeHub:
    def __init__(self) -> None:
        self.calls: list[tuple[str, Any]] = []

    def create_repo(self, name: str, **settings: Any) -> None:
        self.calls.append(("create", (name, settings["private"], settings["repo_type"])))

    def upload_folder(self, **settings: Any) -> None:
        self.calls.append(("upload", (settings["repo_id"], settings["folder_path"])))
        self.allowed = settings["allow_patterns"]


def fake_hub(monkeypatch: pytest.MonkeyPatch) -> FakeHub:
    hub = FakeHub()
    module, errors = types.ModuleType("huggingface_hub"), types.ModuleType("huggingface_hub.errors")
    module.HfApi = lambda: hub  # type: ignore[attr-defined]
    errors.HfHubHTTPError = errors.HFValidationError = type("HubError", (Exception,), {})  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "huggingface_hub", module)
    monkeypatch.setitem(sys.modules, "huggingface_hub.errors", errors)
    return hub


def test_push_uploads_the_folder_to_a_private_repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hub = fake_hub(monkeypatch)
    run = make_run(tmp_path, queries=10)
    export(run.folder, teachers=run.specs, push="me/made")
    assert hub.calls == [
        ("create", ("me/made", True, "dataset")),
        ("upload", ("me/made", str(tmp_path / "5-datasets"))),
    ]
    assert hub.allowed == ["README.md", "queries.parquet", "rejected.parquet", "am/*", "qwen/*"]


def test_a_hub_that_cannot_be_reached_is_told_in_a_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hub = fake_hub(monkeypatch)
    library = types.ModuleType("httpx2")
    library.HTTPError = type("HTTPError", (Exception,), {})  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "httpx2", library)

    def unreachable(name: str, **settings: Any) -> None:
        raise library.HTTPError("Name or service not known")

    monkeypatch.setattr(hub, "create_repo", unreachable)
    run = make_run(tmp_path, queries=10)
    with pytest.raises(UserMistake, match="--push me/made: Name or service not known; the datasets stand in"):
        export(run.folder, teachers=run.specs, push="me/made")


def test_terms_no_blocks_a_push_and_all_reasons_are_told(made: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    hub = fake_hub(monkeypatch)
    with pytest.raises(UserMistake) as told:
        export(made.folder, teachers=made.specs, sources=[{"name": "made-1", "terms": "no"}], push="me/made")
    assert len(told.value.problems) == 2
    assert hub.calls == []


def test_any_engine_and_any_span_give_the_same_datasets(made: Made, tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr("stillhouse.stages.export.SPAN_GROUPS", 1)
    run = make_run(tmp_path, TEACHERS, queries=120)
    with Local(2) as engine:
        counts = export(run.folder, teachers=run.specs, tokenizer=WORDS, sources=SOURCES, engine=engine)
    assert counts["am"] == len(rows(made, "am"))
    for teacher in ("am", "qwen"):
        for file in ("superset", "parallel"):
            assert rows(run, teacher, file) == rows(made, teacher, file)
    assert not (tmp_path / "5-datasets" / ".work").exists()
    again = TokenCounter(WORDS, tmp_path / ".cache")
    assert again.count([row["response"] for row in rows(run, "am")]).tolist() == [r["tokens"] for r in rows(run, "am")]
    assert (again.counted, again.remembered) == (0, len(rows(run, "am")))
