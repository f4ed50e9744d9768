"""The corpora that the papers name: where each stands on the hub, which columns hold what, its category and licence.

In: nothing. Out: CORPORA, confirmed by what was read (a dataset's card, or public code that loads it), and
UNCONFIRMED, which could not be read and is not guessed. Converters bring rows into our query rows (corpus_rows).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from stillhouse.sources import corpus_rows as rows

Row = Mapping[str, Any]


@dataclass(frozen=True)
class Corpus:
    """columns: our field -> column, read_in: where they were read, "card" or "loaders". licence: as the card has it,
    "" where it was not read. select: rows that belong to it. convert: makes fields that no one column holds."""

    hub: str
    category: str
    columns: Mapping[str, str]
    read_in: str
    split: str = "train"
    config: str | None = None
    licence: str = ""
    select: Callable[[Row], bool] | None = None
    convert: Callable[[Row], dict[str, Any]] | None = None
    note: str = ""
    needs: str = ""

    @property
    def card(self) -> str:
        """The dataset's card."""
        return f"https://huggingface.co/datasets/{self.hub}"


CORPORA: dict[str, Corpus] = {
    "openr1-math-220k": Corpus(
        "open-r1/OpenR1-Math-220k", "math", {"query": "problem", "ground_truth": "answer", "id": "uuid"}, "card",
        config="default", licence="apache-2.0"),
    "big-math-rl-verified": Corpus(
        "SynthLabsAI/Big-Math-RL-Verified", "math", {"query": "problem", "ground_truth": "answer"}, "loaders",
        note="gated: log in to the hub first"),
    "numinamath-1.5": Corpus(
        "AI-MO/NuminaMath-1.5", "math", {"query": "problem", "ground_truth": "answer"}, "loaders",
        select=lambda row: row.get("question_type") != "proof" and row.get("answer") not in ("proof", "notfound"),
        note="without proofs"),
    "metamathqa": Corpus(
        "meta-math/MetaMathQA", "math", {"query": "query"}, "loaders", convert=rows.answer_at_the_end,
        note="the reference is what follows `The answer is:` in the response"),
    "s1-full59k": Corpus(
        "simplescaling/data_ablation_full59K", "math", {"query": "question", "ground_truth": "solution"}, "loaders",
        select=lambda row: row.get("cot_type") == "math", note="its math rows; the last boxed of a solution counts"),
    "deepmath-103k": Corpus(
        "zwhe99/DeepMath-103K", "math", {"query": "question", "ground_truth": "final_answer"}, "card", licence="mit"),
    "aime-1983-2023": Corpus(
        "di-zhang-fdu/AIME_1983_2024", "math", {"query": "Question", "ground_truth": "Answer", "id": "ID"}, "loaders",
        select=lambda row: str(row.get("Year")) != "2024", note="without 2024, which is a benchmark"),
    "prime-code": Corpus(
        "PRIME-RL/Eurus-2-RL-Data", "code", {}, "loaders", licence="mit", convert=rows.prime,
        select=lambda row: row.get("ability") == "code", note="without its own system prompt"),
    "deepcoder-primeintellect": Corpus(
        "agentica-org/DeepCoder-Preview-Dataset", "code", {"query": "problem"}, "loaders", config="primeintellect",
        licence="mit", convert=rows.deepcoder),
    "deepcoder-taco": Corpus(
        "agentica-org/DeepCoder-Preview-Dataset", "code", {"query": "problem"}, "loaders", config="taco",
        licence="mit", convert=rows.deepcoder),
    "kodcode": Corpus(
        "KodCode/KodCode-V1", "code", {"query": "question"}, "loaders", licence="cc-by-nc-4.0", convert=rows.kodcode,
        note="of its pytest functions those that only assert"),
    "verifiable-coding": Corpus(
        "PrimeIntellect/verifiable-coding-problems", "code", {"query": "prompt", "id": "problem_id"}, "loaders",
        convert=rows.verifiable_coding),
    "codeforces-cots": Corpus(
        "open-r1/codeforces-cots", "code", {"query": "prompt", "id": "id"}, "loaders",
        config="solutions_py_decontaminated", convert=rows.codeforces),
    "opencoder-educational": Corpus(
        "OpenCoder-LLM/opc-sft-stage2", "code", {"query": "instruction", "id": "seq_id"}, "loaders",
        config="educational_instruct", convert=rows.opencoder),
    "openthoughts-code": Corpus(
        "open-r1/OpenThoughts-114k-Code_decontaminated", "code", {"query": "problem"}, "loaders",
        convert=rows.openthoughts),
    "acecode-87k": Corpus(
        "TIGER-Lab/AceCode-87K", "code", {"query": "question", "id": "id"}, "loaders", convert=rows.acecode),
    "chemistryqa": Corpus(
        "avaliev/ChemistryQA", "science", {"query": "question", "ground_truth": "answer"}, "loaders",
        needs="judges: {science}"),
    "logic-701": Corpus(
        "hivaze/LOGIC-701", "science", {}, "loaders", config="en", convert=rows.logic_701,
        note="five options, written as A to E"),
    "llama-nemotron-if": Corpus(
        "nvidia/Llama-Nemotron-Post-Training-Dataset", "if", {"messages": "input"}, "loaders", config="RL",
        split="instruction_following", convert=rows.nemotron_if),
    "ifeval-like": Corpus(
        "argilla/ifeval-like-data", "if", {"query": "prompt"}, "loaders", config="filtered"),
    "autoif": Corpus(
        "Post-training-Data-Flywheel/AutoIF-instruct-61k", "if", {"messages": "messages"}, "loaders",
        needs="judges: {constraints}"),
    "tulu-3-sft-mixture": Corpus(
        "allenai/tulu-3-sft-mixture", "multiturn", {"messages": "messages", "id": "id"}, "loaders",
        needs="judges: {reward}"),
    "infinity-instruct": Corpus(
        "BAAI/Infinity-Instruct", "multiturn", {"messages": "conversations"}, "loaders", config="0625",
        needs="judges: {reward}"),
    "openhermes-2.5": Corpus(
        "teknium/OpenHermes-2.5", "multiturn", {"messages": "conversations"}, "loaders", needs="judges: {reward}"),
    "ultrachat": Corpus(
        "stingning/ultrachat", "multiturn", {}, "loaders", convert=rows.ultrachat, needs="judges: {reward}"),
    "wizardlm-evol-instruct-70k": Corpus(
        "WizardLMTeam/WizardLM_evol_instruct_70k", "other", {"query": "instruction"}, "loaders",
        needs="judges: {reward}"),
    "open-orca": Corpus(
        "Open-Orca/OpenOrca", "other", {"query": "question", "id": "id", "system": "system_prompt"}, "loaders",
        needs="judges: {reward}"),
    "flan": Corpus("Open-Orca/FLAN", "other", {"query": "inputs"}, "loaders", needs="judges: {reward}"),
    "natural-reasoning": Corpus(
        "facebook/natural_reasoning", "other", {"query": "question", "ground_truth": "reference_answer"}, "loaders",
        needs="judges: {reward}"),
}  # fmt: skip

UNCONFIRMED: dict[str, str] = {
    "2023_amc_data": "no card and no code that loads it under this name was found",
    "livecodebench generation before 2024-10": "its private tests are pickles, which a source never opens",
    "task_mmmlu": "several datasets bear such a name; which one is meant was not found",
    "ncert": "several datasets of one author; which one is meant, and their columns, were not found",
    "logicLM": "longface/logicLM: public code tries two names for its question column",
    "Llama-Nemotron-Post-Training-Dataset-v1": "the columns of its science rows were not read",
    "deepcoder lcbv5": "problems of LiveCodeBench, which is a benchmark here",
}
