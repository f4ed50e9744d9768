#!/bin/sh
# Put the trainers' own packages, without what they pull in, beside each other in a folder, so that
# tests/students/test_handoff.py can parse each hand-off with the trainer's config classes and data code:
#   sh tests/students/trainers/install.sh FOLDER && STILLHOUSE_TRAINERS=FOLDER python -m pytest tests/students/test_handoff.py
# Needs torch, transformers, trl, datasets in the environment (the extra `train`). About 140 MB.
set -eu
to=${1:?the folder to install into}
python=${PYTHON:-python}
get() { folder=$1; shift; "$python" -m pip install -q --no-deps --target "$to/$folder" "$@"; }
get llamafactory llamafactory==0.9.5
get axolotl axolotl==0.19.0
get ms-swift ms-swift==4.6.0
get verl verl==0.9.1
get light omegaconf hydra-core antlr4-python3-runtime==4.9.3 tensordict pyvers modelscope modelscope-hub json-repair \
  colorama addict codetiming cloudpickle importlib-metadata einops torchdata cryptography cffi
