"""Print the names of every setting that each trainer's config classes know: `python fields.py FOLDER > fields.json`.

FOLDER is what install.sh made. fields.json holds the hand-offs' keys to account where the trainers are not installed.
"""

import json
import os
import subprocess
import sys
from importlib.metadata import version

HOW = {
    "llamafactory": "import os; os.environ['DISABLE_VERSION_CHECK'] = '1'\n"
    "import dataclasses as d; from llamafactory.hparams.parser import _TRAIN_ARGS as c\n"
    "out = [f.name for k in c for f in d.fields(k)]",
    "axolotl": "from axolotl.utils.schemas.config import AxolotlInputConfig as c; out = list(c.model_fields)",
    "ms-swift": "import dataclasses as d; from swift.arguments import SftArguments as c\n"
    "out = [f.name for f in d.fields(c)]",
    "verl": "from hydra import compose, initialize_config_module\n"
    "from omegaconf import OmegaConf\n"
    "def walk(v, at=''):\n"
    "    for k, x in v.items():\n"
    "        yield at + k\n"
    "        if isinstance(x, dict): yield from walk(x, at + k + '.')\n"
    "with initialize_config_module('verl.trainer.config', version_base=None):\n"
    "    out = list(walk(OmegaConf.to_container(compose('sft_trainer_engine'))))",
    "trl": "import dataclasses as d; from trl import *\n"
    "from trl.scripts.utils import DatasetMixtureConfig\n"
    "c = (ScriptArguments, SFTConfig, ModelConfig, DatasetMixtureConfig)\n"
    "out = [f.name for k in c for f in d.fields(k)]",
}


def main() -> None:
    folder, known = sys.argv[1], {}
    for trainer, code in HOW.items():
        paths = "" if trainer == "trl" else f"{folder}/{trainer}:{folder}/light"
        env = os.environ | {"PYTHONPATH": paths, "USE_HF": "1", "HF_HUB_OFFLINE": "1"}
        tail = "\nimport json, sys; from importlib.metadata import version\n"
        tail += "print('>' + json.dumps([version(sys.argv[1]), sorted(set(out))]))"
        shown = subprocess.run(
            [sys.executable, "-c", code + tail, trainer], env=env, capture_output=True, text=True, check=True
        )
        line = next(text for text in shown.stdout.splitlines() if text.startswith(">"))
        known[trainer] = dict(zip(("version", "fields"), json.loads(line[1:]), strict=True))
    known["python"] = {"transformers": version("transformers")}
    print(json.dumps(known, indent=0))


if __name__ == "__main__":
    main()
