"""The settings of a recipe as typed, frozen models; unknown keys and wrong types are mistakes.

Every default is a number of the paper or of its sibling papers where they state one (docs/recipe.md lists them).
"""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", max_length=100)]
ImportPath = Annotated[str, Field(pattern=r"^[A-Za-z_][\w.]*:[A-Za-z_]\w*$")]
Trainer = Literal["llamafactory", "axolotl", "ms-swift", "verl", "trl"]
TRAINERS: tuple[str, ...] = get_args(Trainer)
Category = Literal["math", "code", "science", "if", "multiturn", "other"]


class Settings(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


LEAST_PRICE = 0.0005  # dollars per million tokens: no model is sold for less


class PriceSettings(Settings):
    """Dollars per million tokens (input and output, cached and thinking where they differ), or per_hour."""

    input: float | None = Field(None, ge=0)
    output: float | None = Field(None, ge=0)
    cached: float | None = Field(None, ge=0)
    thinking: float | None = Field(None, ge=0)
    per_hour: float | None = Field(None, ge=0)

    @model_validator(mode="after")
    def _one_kind(self) -> PriceSettings:
        by_token = self.input is not None or self.output is not None
        if by_token == (self.per_hour is not None) or (self.input is None) != (self.output is None):
            raise ValueError("a price is either input and output (dollars per million tokens) or per_hour")
        tiny = [name for name in ("input", "output") if 0 < (getattr(self, name) or 0) < LEAST_PRICE]
        if tiny:
            raise ValueError(
                f"{tiny[0]} {getattr(self, tiny[0]):g} looks like dollars per token: a price is dollars per million "
                f"tokens, {getattr(self, tiny[0]) * 1e6:g}"
            )
        return self


class QueriesSettings(Settings):
    """Where queries come from: one of path, hub, gym, champ, demo or part."""

    path: str | None = None
    hub: str | None = None
    gym: str | None = None
    champ: bool | None = None
    demo: bool | None = None
    mapping: str | None = None
    part: ImportPath | None = None
    category: Category | None = None
    source: str | None = None
    split: str | None = None
    columns: dict[str, str] | None = None
    limit: int | None = Field(None, ge=1)
    seed: int | None = None
    terms: Literal["yes", "no", "unknown"] = "unknown"
    licence: str = ""
    settings: dict[str, Any] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _one_place(self) -> QueriesSettings:
        given = [k for k in ("path", "hub", "gym", "champ", "demo", "mapping", "part") if getattr(self, k)]
        if given == ["path", "mapping"]:
            return self  # files of a published corpus
        if len(given) != 1:
            raise ValueError(
                f"queries come from one of path, hub, gym, champ, demo, mapping or part, not {given or 'none'}"
            )
        return self


class EndpointSettings(Settings):
    """What every model behind an endpoint has: a judge as much as a teacher."""

    base_url: str | None = None
    base_urls: list[str] | None = None
    model: str | None = None
    revision: str | None = None
    api_key_env: str | None = None
    price: PriceSettings | None = None
    max_in_flight: int = Field(64, ge=1, le=100_000)
    requests_per_minute: float | None = Field(None, gt=0)
    tokens_per_minute: float | None = Field(None, gt=0)
    timeout: float = Field(1800.0, gt=0)
    patience: float = Field(600.0, gt=0)
    budget_usd: float | None = Field(None, ge=0)
    temperature: float | None = Field(None, ge=0)
    top_p: float | None = Field(None, gt=0, le=1)
    top_k: int | None = None
    min_p: float | None = Field(None, ge=0, le=1)
    max_tokens: int | None = Field(None, ge=1)
    extra_body: dict[str, Any] = Field(default_factory=dict)
    family: str | None = None

    @field_validator("base_url", "base_urls")
    @classmethod
    def _http(cls, value: Any) -> Any:
        for url in value if isinstance(value, list) else [value] if value else []:
            if not re.match(r"https?://[^/\s]+", url):
                raise ValueError(f"{url!r} is not an http:// or https:// address")
            if re.match(r"https?://[^/\s]*@", url):
                raise ValueError("an address must not hold a password: name the key's variable in api_key_env")
        return value


class TeacherSettings(EndpointSettings):
    """A teacher. profile: am-thinking-v1, qwen3-235b-a22b, deepseek-r1, generic, embedded, recorded, champ, or part."""

    name: Name
    profile: str = "generic"
    part: ImportPath | None = None
    settings: dict[str, Any] = Field(default_factory=dict)
    thinking: Literal["required", "optional", "none"] | None = None
    terms: Literal["yes", "no", "unknown"] | None = None
    licence: str | None = None
    system_prompt: str | None = None
    suffixes: dict[Category, str] | None = None
    examples: dict[Category, list[dict[str, str]]] | Literal["demo", "demo-direct"] | None = None
    seed: bool = True
    stream: bool = False
    early_stop: bool = True
    perplexity: float | None = Field(None, gt=0)
    batch: bool = False
    path: str | None = None
    setting: str | None = None


class JudgeSettings(EndpointSettings):
    """A judge behind an OpenAI-compatible endpoint, or the embedded model (`profile: embedded`)."""

    profile: Literal["generic", "embedded"] = "generic"
    part: ImportPath | None = None
    max_in_flight: int = Field(32, ge=1)


class JudgesSettings(Settings):
    math: JudgeSettings | None = None
    science: JudgeSettings | None = None
    constraints: JudgeSettings | None = None
    reward: JudgeSettings | None = None
    audit: JudgeSettings | None = None


class AvoidSettings(Settings):
    path: str
    name: Name
    column: str | None = None


class EmbeddingsSettings(Settings):
    model: str = "wordllama"
    threshold: float | None = Field(None, gt=0, lt=1)
    base_url: str | None = None
    api_key_env: str | None = None


class CurateSettings(Settings):
    avoid: list[AvoidSettings | str] = Field(default_factory=list)
    near_duplicates: bool = True
    embeddings: EmbeddingsSettings | Literal[False] = False
    filters: list[ImportPath] = Field(default_factory=list)


class DistillSettings(Settings):
    attempts: int = Field(8, ge=1, le=64)
    truncated_attempts: int = Field(2, ge=1)
    retries: int = Field(12, ge=0)
    budget_usd: float | None = Field(None, ge=0)
    max_tokens: int | None = Field(None, ge=1)
    workers: int | None = Field(None, ge=1)


class MathSettings(Settings):
    boxed: Literal["last", "required"] = "last"


class CodeSettings(Settings):
    tests: int = Field(10, ge=1)
    python_timeout: float = Field(10.0, gt=0)
    cpp_timeout: float = Field(10.0, gt=0)
    memory_mb: int = Field(1024, ge=64)
    unsafe: bool = False


class ReferencesSettings(Settings):
    """What the teachers' vote may do. missing: a query without a reference is rejected, or gets what they agree on.
    suspect: a reference that they agree against is listed by the audit, or replaced (the original stays beside it).
    teachers: that must agree at least; rounds: replies of each teacher that a vote may wait for."""

    missing: Literal["reject", "vote"] = "reject"
    suspect: Literal["list", "vote"] = "list"
    teachers: int = Field(2, ge=2)
    rounds: int = Field(2, ge=1)


class VerifySettings(Settings):
    """How each category is verified: its own settings, `structure` to accept by form alone, or an import path."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, populate_by_name=True)
    math: MathSettings | Literal["structure"] | ImportPath = MathSettings()
    code: CodeSettings | Literal["structure"] | ImportPath = CodeSettings()
    science: Literal["structure"] | ImportPath | None = None
    if_: Literal["structure"] | ImportPath | None = Field(None, alias="if")
    multiturn: Literal["structure"] | ImportPath | None = None
    other: Literal["structure"] | ImportPath | None = None
    references: ReferencesSettings = ReferencesSettings()
    versions: dict[str, str] = Field(default_factory=dict)


class PerplexitySettings(EndpointSettings):
    """The model that perplexities come from: vLLM (`prompt_logprobs`) or SGLang (`echo`), prefix cache off."""

    api: Literal["vllm", "sglang"] = "vllm"
    max_in_flight: int = Field(16, ge=1, le=100_000)

    @model_validator(mode="after")
    def _whole(self) -> PerplexitySettings:
        if not (self.base_url or self.base_urls) or not self.model:
            raise ValueError("base_url and model are needed: the endpoint, and the name that it serves it under")
        return self


class FilterSettings(Settings):
    """Which filters run over verified responses, with the numbers of the paper and its siblings."""

    back_to_back: bool = True
    ngrams: bool = True
    ngram_mode: Literal["share", "strict"] = "share"
    max_tokens: int | None = Field(None, ge=1)
    perplexity: PerplexitySettings | Literal["embedded", False] = False
    filters: list[ImportPath] = Field(default_factory=list)


class TrainSettings(Settings):
    """The student's base and how it is trained; without base and `to` no student is trained.

    to: writes data and config for this trainer. Without it students are trained here: a base of the embedded kind
    (`embedded`, a GGUF file, a folder of transformers) by a plain loop, any base by TRL where `gpus` says on how many.
    What is left open is the paper's, or what suits a small model where the plain loop trains (`usual`).
    """

    base: str | None = None
    to: Trainer | None = None
    gpus: int | None = Field(None, ge=1)
    tokenizer: str | None = None
    template: str | None = None
    template_name: str | None = None
    form: Literal["inline", "field", "append"] = "inline"
    checked: bool = True
    method: Literal["full", "lora"] = "full"
    lora_rank: int = Field(32, ge=1)
    max_tokens: int = Field(32768, ge=1)
    sequence_tokens: int | None = Field(None, ge=1)
    learning_rate: float = Field(8.0e-5, gt=0)
    epochs: float = Field(2, gt=0)
    warmup: float = Field(0.05, ge=0, le=1)
    batch: int = Field(64, ge=1)
    weight_decay: float = Field(0.1, ge=0)
    teachers: list[Name] | None = None
    dataset: Literal["parallel", "superset"] = "parallel"
    equal: Literal["queries", "tokens"] = "queries"
    seeds: list[int] = Field(default_factory=lambda: [42], min_length=1)
    family: str | None = None
    threads: int | None = Field(None, ge=1)
    save_every: int = Field(10, ge=1)
    config: dict[str, Any] = Field(default_factory=dict)

    @property
    def wanted(self) -> bool:
        """Whether a run trains students at all."""
        return self.base is not None or self.to is not None

    @property
    def here(self) -> bool:
        """Whether the plain loop trains, on this machine."""
        return self.base is not None and self.to is None and self.gpus is None

    @staticmethod
    def usual(value: dict[str, Any]) -> dict[str, Any]:
        """What these settings leave open, where the plain loop trains a small model; else the paper's values stand."""
        here = value.get("base") is not None and value.get("to") is None and value.get("gpus") is None
        if not here:
            return {}
        lora = value.get("method") != "full"
        return {"method": "lora", "lora_rank": 16, "max_tokens": 2048, "batch": 1} | (
            {"learning_rate": 5.0e-4} if lora else {}
        )

    @model_validator(mode="before")
    @classmethod
    def _fill(cls, value: Any) -> Any:
        return cls.usual(value) | value if isinstance(value, dict) else value

    @field_validator("seeds")
    @classmethod
    def _once(cls, value: list[int]) -> list[int]:
        if len(set(value)) != len(value):
            raise ValueError("a seed stands twice")
        return value


class BenchmarkSettings(Settings):
    """A benchmark by its name (with a local file or hub name of its data), a part, or queries held out of the run."""

    name: Name | None = None
    part: ImportPath | None = None
    queries: list[QueriesSettings] | None = None
    path: str | None = None
    hub: str | None = None
    samples: int | None = Field(None, ge=1)
    items: int | None = Field(None, ge=1)
    max_tokens: int | None = Field(None, ge=1)
    temperature: float | None = Field(None, ge=0)
    top_p: float | None = Field(None, gt=0, le=1)
    settings: dict[str, Any] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _one_place(self) -> BenchmarkSettings:
        if self.name is None and self.part is None and not self.queries:
            raise ValueError("a benchmark is a name, a part, or queries that are held out of the run")
        if self.part is not None and self.queries:
            raise ValueError("a benchmark is a part or queries, not both")
        if self.queries and (self.path or self.hub):
            raise ValueError("held-out queries have a path or hub name of their own, under queries")
        if self.items and not self.queries:
            raise ValueError("items is how many held-out queries are asked; `evaluate: {limit: N}` takes N of any")
        return self


class StudentSettings(EndpointSettings):
    """A student, or another model, that an endpoint serves. teacher: whose dataset it was trained on; control: what
    it is a control for, `base` for one."""

    name: Name
    teacher: Name | None = None
    seed: int | None = None
    control: str | None = None
    examples: dict[Category, list[dict[str, str]]] | None = None
    system_prompt: str | None = None


class EvaluateSettings(Settings):
    """benchmarks: `NAME`, `NAME:SAMPLES` or `NAME:SAMPLES=FILE`, or settings; samples are the paper's where not given.

    students: endpoints that serve them; those trained here are known. teachers: which of the run's are asked too.
    controls: the base of students trained here is asked as well, and once more shown `examples` where there are some.
    max_tokens: of a reply, where the benchmark's own limit is not meant.
    """

    benchmarks: list[str | BenchmarkSettings] = Field(default_factory=list)
    limit: int | None = Field(None, ge=1)
    students: list[StudentSettings] = Field(default_factory=list)
    teachers: bool | list[Name] = False
    controls: bool = True
    examples: dict[Category, list[dict[str, str]]] | Literal["demo", "demo-direct"] | None = None
    max_tokens: int | None = Field(None, ge=1)
    budget_usd: float | None = Field(None, ge=0)


class MarginSettings(Settings):
    rate: float = Field(2.0, gt=0)
    relative: float = Field(5.0, gt=0)


class Recipe(Settings):
    """What a run is to do. Every default is a number of the paper or its siblings; see `stillhouse init`."""

    name: Name
    queries: list[QueriesSettings] = Field(min_length=1)
    teachers: list[TeacherSettings] = Field(min_length=1)
    curate: CurateSettings = CurateSettings()
    distill: DistillSettings = DistillSettings()
    judges: JudgesSettings = JudgesSettings()
    verify: VerifySettings = VerifySettings()
    filter: FilterSettings = FilterSettings()
    train: TrainSettings = TrainSettings()
    evaluate: EvaluateSettings = EvaluateSettings()
    tokenizer: str = "embedded"
    engine: Literal["local", "ray"] = "local"
    store: str | None = None
    decide_by: Literal["student_mean", "cost_per_verified", "verified_yield"] | None = None
    margin: MarginSettings = MarginSettings()
