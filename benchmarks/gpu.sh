#!/usr/bin/env bash
# All that is measured on a CUDA card, in under eight minutes: `benchmarks/gpu.sh OUT [DATA WEIGHTS]`.
#
#   PYTHON=python3        an interpreter with the packages of requirements.lock (default: .venv/bin/python)
#   GPU=0                 the card; GPU= rehearses everything on the CPU, with nets of a sixteenth of the channels
# DATA, WEIGHTS: the photographs with their fold lists below splits/, and SqueezeNet's weights; without them that part is
# left out.
#
# OUT gets a log of each part. A part that fails does not keep the others from running; the status is then 1.
set -u
cd "$(dirname "$0")/.."
out=${1:?a folder for what is found}
data=${2:-} weights=${3:-}
python=${PYTHON:-.venv/bin/python}
gpu=${GPU-0}
card=(${gpu:+--gpu "$gpu"})
export PYTHONPATH="$PWD/python${PYTHONPATH:+:$PYTHONPATH}" PYTHONUNBUFFERED=1
mkdir -p "$out"
failed=0

part() { # part NAME SECONDS COMMAND...
  local name=$1 limit=$2 start=$SECONDS
  shift 2
  timeout "$limit" "$@" >"$out/$name.log" 2>&1 || { echo "$name: failed with status $?"; failed=1; }
  echo "$name: $((SECONDS - start)) s"
  tail -n 25 "$out/$name.log" | cut -c1-200
}

part tests 150 "$python" -m pytest -q -p no:cacheprovider -m gpu tests/conformance/test_cases_on_gpu.py tests/unit/caffe/test_gpu.py tests/unit/caffe/test_forks_of_caffe.py \
  tests/e2e/test_gpu_tools.py $([ -n "$gpu" ] || echo --rehearse-gpu)
part bench 90 "$python" benchmarks/run.py "${card[@]}" --only step forward ten-crop map --json "$out/bench.json" \
  $([ -n "$gpu" ] || echo --rounds 1)
part whole 160 "$python" benchmarks/whole_paper.py "$out/whole" --sample "${card[@]}" \
  $([ -n "$gpu" ] || echo --images 25 --divisor 16 --iterations 2 --batch-size 4)
rm -rf "$out/whole"
if [ -n "$data" ]; then
  which=(--data "$data" --splits "$data/splits" --runs "$out/runs" --arch squeezenet --init "$weights" --fold all)
  part train 120 "$python" tools/train.py "${which[@]}" "${card[@]}" $([ -n "$gpu" ] || echo --iterations 2)
  part evaluate 60 "$python" tools/evaluate.py "${which[@]}" "${card[@]}"
  rm -f "$out"/runs/*/*/*/*.caffemodel "$out"/runs/*/*/*/*.solverstate
fi
exit $failed
