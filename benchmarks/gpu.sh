#!/usr/bin/env bash
# All that is measured on a GPU, in under eight minutes: `benchmarks/gpu.sh OUT [DATA WEIGHTS]`.
#
#   GPU=0           the GPU; GPU= rehearses everything on the CPU at reduced size, in a few minutes and without limits
#   PYTHON=FILE     a Python with the packages of requirements.lock (default: .venv/bin/python)
#   SPLITS=FOLDER   the fold lists of DATA, as tools/split_folds.py writes them (default: DATA/splits)
#   JOBS=13         real trainings at a time
#
# DATA is a data set, WEIGHTS a folder with squeezenet_v1.0.caffemodel, bvlc_googlenet.caffemodel, and the ImageNet mean,
# ilsvrc_2012_mean.binaryproto or imagenet_mean.binaryproto (without it, its channel means). What is missing is left out.
# OUT gets a log of each part, summary.md with the numbers, and results in runs/, which are made anew. A part that fails
# or reaches its limit does not keep the others from running; the status is then 1.
#
# Several trainings at a time use NVIDIA's MPS. Its daemon is started where none runs and MPS works, and stopped at the
# end; neither the GPU nor its settings are changed.
set -u
cd "$(dirname "$0")/.."
fail() { echo "gpu.sh: $*" >&2; exit 2; }
[ -n "${1:-}" ] || fail "name a folder for the results: benchmarks/gpu.sh OUT [DATA WEIGHTS]"
command -v "${PYTHON:-.venv/bin/python}" >/dev/null || fail "${PYTHON:-.venv/bin/python} is not a Python; run \`make setup\` or set PYTHON"
out=$(realpath -m "$1")
data=${2:-DATA} weights=${3:-WEIGHTS}
gpu=${GPU-0}
if [ -n "$gpu" ]; then jobs=${JOBS:-13}; else jobs=${JOBS:-2}; fi
splits=${SPLITS:-$data/splits}
python=${PYTHON:-.venv/bin/python} runs=$out/runs device="${gpu:+--gpu $gpu}"
export python data splits weights runs device jobs gpu
export PYTHONPATH="$PWD/python${PYTHONPATH:+:$PYTHONPATH}" PYTHONUNBUFFERED=1
mkdir -p "$out"
rm -rf "$runs" "$out/whole"
summary=$out/summary.md
failed=0

part() { # part NAME SECONDS PATTERN COMMAND...; the lines of its log with the pattern go to the summary
  local name=$1 limit=$2 pattern=$3 start=$SECONDS status=0
  shift 3
  timeout -s INT -k 5 "$([ -n "$gpu" ] && echo "$limit" || echo 0)" "$@" </dev/null >"$out/$name.log" 2>&1 || status=$?
  case $status in
    0) status="" ;;
    124 | 137) status=", stopped at its limit" failed=1 ;;
    *) status=", failed with status $status" failed=1 ;;
  esac
  {
    printf '\n## %s: %s s%s\n\n' "$name" $((SECONDS - start)) "$status"
    grep -E "$pattern" "$out/$name.log"
    [ -z "$status" ] || { echo "its last lines:" && tail -n 15 "$out/$name.log"; }
  } | cut -c1-300 | tee -a "$summary"
}

start_mps() { # sets $mps to how trainings share the GPU; a daemon that we start has a folder of its own
  mps="without MPS"
  [ -n "$gpu" ] && command -v nvidia-cuda-mps-control >/dev/null || return
  if pgrep -x nvidia-cuda-mps >/dev/null 2>&1; then mps="under the MPS that was running"; return; fi
  daemon=$(mktemp -d)
  export CUDA_MPS_PIPE_DIRECTORY=$daemon CUDA_MPS_LOG_DIRECTORY=$daemon
  if { nvidia-cuda-mps-control -d &&
    timeout 30 "$python" -c "import torch; torch.zeros(1, device='cuda:$gpu')"; } >"$out/mps.log" 2>&1; then
    mps="under MPS"
  else
    stop_mps
  fi
}

stop_mps() {
  [ -n "${daemon:-}" ] || return
  echo quit | timeout 10 nvidia-cuda-mps-control
  rm -rf "$daemon"
  daemon=""
  unset CUDA_MPS_PIPE_DIRECTORY CUDA_MPS_LOG_DIRECTORY
} >/dev/null 2>&1
trap stop_mps EXIT

threads_of() { # of each of so many processes
  echo $(($(nproc) > $1 ? $(nproc) / $1 : 1))
}

one_training() { # one_training ARCH WEIGHTS SUBSET FOLD
  local mean which
  mean=$(find "$weights" -maxdepth 1 -name 'i*_mean.binaryproto' | head -n 1)
  which=(--data "$data" --splits "$splits" --runs "$runs" --arch "$1" --init "$weights/$2" --subset "$3" --fold "$4")
  "$python" tools/train.py "${which[@]}" ${mean:+--mean "$mean"} $device $([ -n "$gpu" ] || echo --iterations 2) &&
    "$python" tools/evaluate.py "${which[@]}" $device
}

real_trainings() { # of the nets whose names and weights are given, $jobs at a time
  local subsets="three_agrees four_agrees five_agrees" folds="1 2 3 4 5" start=$SECONDS
  [ -n "$gpu" ] || subsets=five_agrees folds=1
  for net in "$@"; do
    for subset in $subsets; do
      for fold in $folds; do echo "$net $subset $fold"; done
    done
  done >"$runs.txt"
  xargs -P "$jobs" -L 1 bash -c 'one_training "$@"' _ <"$runs.txt" || return
  echo "$(wc -l <"$runs.txt") trainings and tests in $((SECONDS - start)) s, $jobs at a time $mps"
  "$python" tools/make_tables.py --runs "$runs" --out "$runs/results" --table runs
}
export -f one_training real_trainings

{
  echo "# Measured by benchmarks/gpu.sh on $(date -u +%F)"
  echo
  "$python" -c "
import os, platform, re, torch
print('Python', platform.python_version(), 'torch', torch.__version__, end=' ')
print('CUDA', torch.version.cuda, 'cuDNN', torch.backends.cudnn.version())
print(os.cpu_count(), 'cores:', *re.findall('model name.*: (.*)', open('/proc/cpuinfo').read())[:1])"
  if [ -n "$gpu" ]; then
    nvidia-smi -i "$gpu" --query-gpu=name,driver_version,memory.total --format=csv,noheader
  else
    echo "A rehearsal on the CPU: no number counts."
  fi
} | tee "$summary"

part tests 110 'passed|failed|^FAILED|^ERROR' "$python" -m pytest -q -p no:cacheprovider -m gpu \
  tests/conformance/test_cases_on_gpu.py tests/unit/caffe tests/e2e/test_gpu_tools.py $([ -n "$gpu" ] || echo --rehearse-gpu)
part bench 90 '^\|' "$python" benchmarks/run.py $device --only step forward tiny ten-crop map --json "$out/bench.json" \
  $([ -n "$gpu" ] || echo --rounds 1)

start_mps
export mps
printf '\nSeveral trainings at a time: %s.\n' "$mps" | tee -a "$summary"
nets=()
for net in "googlenet bvlc_googlenet.caffemodel" "squeezenet squeezenet_v1.0.caffemodel"; do # the slower one first
  if [ -f "$weights/${net#* }" ] && [ -d "$splits" ]; then
    nets+=("$net")
  else
    echo "${net% *} is left out: it needs $weights/${net#* }, and fold lists in $splits" | tee -a "$summary"
  fi
done
[ ${#nets[@]} -eq 0 ] || OMP_NUM_THREADS=$(threads_of "$jobs") \
  part train 95 '^\||trainings and tests in' bash -c 'real_trainings "$@"' _ "${nets[@]}"
rm -rf "$runs"/.images "$runs"/*/*/*/*.{caffemodel,solverstate}

whole=("$python" benchmarks/whole_paper.py "$out/whole" --sample $device)
[ -n "$gpu" ] || whole+=(--images 25 --divisor 16 --iterations 2 --batch-size 4)
OMP_NUM_THREADS=$(threads_of 2) part whole-at-once 75 '^(five|four|three)_agrees: .* s for|^all ' "${whole[@]}" --jobs 2
rm -rf "$out/whole/runs"
stop_mps
part whole 75 '^(five|four|three)_agrees: .* s for|^all ' "${whole[@]}"
rm -rf "$out/whole"
exit $failed
