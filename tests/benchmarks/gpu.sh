#!/usr/bin/env bash
# Run all benchmarks that need a GPU, in one call, on a machine without a network.
#
#   tests/benchmarks/gpu.sh pack FOLDER [PROJECT]   with a network: put wheels and the handwriting
#                                                   of PROJECT (converted, split) into FOLDER
#   tests/benchmarks/gpu.sh run FOLDER OUT          on the GPU machine: write results into OUT
#
# `run` needs a python3 with torch, torchvision and the packages in THERE below; FOLDER has the
# others, and stays under 64 MB. `run` ends within MINUTES (default 9.5) and starts with the most
# important benchmarks. PYTHON_VERSION (default 3.12) is that of the GPU machine. SMOKE=1 runs a
# small version on a CPU.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
what=${1:?allowed: pack, run} folder=${2:?FOLDER is missing}

pack() {
  local project=${1:-$root} version=${PYTHON_VERSION:-3.12}
  mkdir -p "$folder/wheels" "$folder/data/tamil"
  # List the packages that kalai loads to train and that a machine with torch lacks.
  python - >"$folder/wheels.txt" <<'PY'
import importlib.metadata as metadata
import sys
import warnings

warnings.simplefilter("ignore")
import fastai.vision.all
import pipeline.evaluate.stage
import pipeline.train.stage

THERE = {
    "kalai", "torch", "torchvision", "triton", "numpy", "pandas", "pillow", "matplotlib", "scipy",
    "scikit-learn", "pyarrow", "safetensors", "sympy", "mpmath", "psutil", "fonttools", "joblib",
    "kiwisolver", "setuptools", "charset-normalizer", "pyyaml", "cuda-bindings", "cuda-pathfinder",
}
loaded = {name.split(".")[0] for name in sys.modules}
owners = metadata.packages_distributions()
names = {owner.lower().replace("_", "-") for name in loaded for owner in owners.get(name, [])}
for name in sorted(names - THERE):
    print(f"{name}=={metadata.version(name)}")
PY
  local platforms=()
  for tag in manylinux_2_28 manylinux_2_27 manylinux_2_17 manylinux2014 manylinux1; do
    platforms+=(--platform "${tag}_x86_64")
  done
  python -m pip download --quiet --no-deps --only-binary=:all: --python-version "$version" \
    --implementation cp "${platforms[@]}" --dest "$folder/wheels" -r "$folder/wheels.txt"
  cp "$project/data/tamil/samples.parquet" "$project/data/tamil/split.csv" "$folder/data/tamil/"
  local size
  size=$(du -sm "$folder" | cut -f1)
  echo "$folder: $size MB"
  if [ "$size" -ge 64 ]; then
    echo "error: $folder: $size MB; allowed: less than 64 MB" >&2
    exit 1
  fi
}

run() {
  local out=${1:?OUT is missing} began=$SECONDS
  local limit; limit=$(python3 -c "print(int(60 * ${MINUTES:-9.5}))")
  mkdir -p "$out"
  out=$(cd "$out" && pwd)
  folder=$(cd "$folder" && pwd)
  if [ -d "$folder/wheels" ]; then
    python3 -m pip install -q --no-index --no-deps --no-compile --no-cache-dir --upgrade \
      --target "$folder/site" "$folder"/wheels/*.whl
    export PYTHONPATH="$folder/site:$root"
  fi
  cd "$root"
  left() { echo $((limit - (SECONDS - began))); }
  step() {  # run one benchmark; if it fails or takes too long, the others still run
    local name=$1; shift
    local seconds; seconds=$(left)
    [ "$seconds" -gt 20 ] || { echo "== $name: no time left"; return; }
    echo "== $name ($seconds s left)"
    timeout "$seconds" "$@" 2>&1 | tee "$out/$name.log" | tail -12 || echo "$name failed"
  }
  local bench="$here/train.py" search="$here/recipes.py" common=(--data "$folder" --dataset tamil)
  { nvidia-smi || true; python3 -c "import torch; print(torch.__version__)"; } >"$out/machine.txt" 2>&1
  if [ -n "${SMOKE:-}" ]; then
    step speed-32 python3 "$bench" --size 32 --batch 16 --images 64 --epochs 1 --json "$out/speed-32.json"
    step tamil python3 "$search" "${common[@]}" --recipes 48+7-epochs --classes 2 --share 0.3 \
      --test --out "$out/tamil.csv"
    step tamil-refit python3 "$search" "${common[@]}" --recipes 48+7-epochs --classes 2 --share 0.3 \
      --refit --test --out "$out/tamil.csv"
    return
  fi
  local chosen=96+20-epochs+batch-256
  step speed-224 python3 "$bench" --size 224 --batch 512 --images 16384 --epochs 2 \
    --json "$out/speed-224.json"
  step tamil-seeds python3 "$search" "${common[@]}" --recipes "$chosen" --seeds 8,9,10 --test \
    --out "$out/tamil.csv"
  step tamil-refit python3 "$search" "${common[@]}" --recipes "$chosen" --refit --test \
    --out "$out/tamil.csv"
  step tamil-random python3 "$search" "${common[@]}" --recipes "$chosen" --random --test \
    --out "$out/tamil.csv"
  step speed-224-compiled python3 "$bench" --size 224 --batch 512 --images 16384 --epochs 2 \
    --compile --json "$out/speed-224-compiled.json"
  step tamil-sizes python3 "$search" "${common[@]}" --out "$out/tamil.csv" \
    --recipes "128+20-epochs+batch-256,96+30-epochs+batch-256,plain"
  step speed-96 python3 "$bench" --size 96 --batch 512 --images 16384 --epochs 2 \
    --json "$out/speed-96.json"
  cat "$out/tamil.csv"
}

shift 2
"$what" "$@"
