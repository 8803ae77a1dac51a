# The paper's experiments by name. `make` alone lists targets and variables.

PYTHON     ?= python3
DUPLICATES ?= $(TWINS)# TWINS is its earlier name

VENV  := .venv
ifeq ($(PY),)
PY    := $(VENV)/bin/python
READY := $(VENV)/.set-up
else # a Python that this project is not installed in
READY := its-own-python
export PYTHONPATH := $(if $(PYTHONPATH),$(PYTHONPATH):)$(CURDIR)/python
endif
PYTEST := $(PY) -m pytest -q
SELF   := $(firstword $(MAKEFILE_LIST))

# A misspelt variable is refused: make would ignore it.
KNOWN := TWINS $(shell sed -n 's/^.: \([A-Z_ ]*\) [^A-Z].*/\1/p' '$(SELF)')
GIVEN := $(strip $(foreach name,$(.VARIABLES),$(if $(filter command,$(firstword $(origin $(name)))),$(name))))
ifneq ($(filter-out $(KNOWN),$(GIVEN)),)
$(error no variable is called $(filter-out $(KNOWN),$(GIVEN)); `make` alone lists all)
endif

# So is a variable that none of the targets uses. DATA, RUNS, RESULTS and GPU may be given to all of them.
PAPER := demo demo-paper laptop paper table% figure%
only = $(foreach name,$(filter $1,$(GIVEN)),$(if $(filter $2 help,$(or $(MAKECMDGOALS),help)),,$(error $(name) is for $2)))
$(call only,FOLD,fold)
$(call only,SUBSET VARIANT WEAK,fold fold-all)
$(call only,ARCH BATCH ITERS SET MEAN,fold fold-all $(PAPER))
$(call only,INIT,fold fold-all models $(PAPER))
$(call only,SEED PUBLISHED DUPLICATES TWINS,splits fold fold-all $(PAPER))
$(call only,SEEDS EXECUTOR GPUS_PER_RUN CPUS_PER_RUN,$(PAPER))
$(if $(and $(WEAK),$(filter fold%,$(MAKECMDGOALS))),$(if $(filter pcnn,$(ARCH)),,$(error WEAK is for ARCH=pcnn))$(if $(INIT),$(error give WEAK or INIT: both say what to start from)))
$(call only,ARCHIVE,data)
$(call only,FILE,models)
$(call only,HOST PORT,serve)

# Variables of the environment count too, and are shown. Shells export HOST, PORT and FILE for other purposes.
$(foreach name,HOST PORT FILE,$(if $(filter environment,$(origin $(name))),$(eval $(name) :=)))
FOUND := $(strip $(foreach name,$(KNOWN),$(if $(and $($(name)),$(filter environment,$(origin $(name)))),$(name)=$($(name)))))
$(if $(and $(FOUND),$(filter 0,$(MAKELEVEL))),$(warning from the environment: $(FOUND)))

# The python folder of a real Caffe comes before this project's own `caffe`.
ifdef CAFFE
ifneq ($(shell test -f '$(CAFFE)/caffe/__init__.py' || echo missing),)
$(error CAFFE: $(CAFFE) is not the python folder of a Caffe (it has no caffe/__init__.py))
endif
export PYTHONPATH := $(CAFFE)$(if $(PYTHONPATH),:$(PYTHONPATH))
endif
export CAFFE_PRECISION := $(or $(PRECISION),$(CAFFE_PRECISION))

# The tools' options from the variables that were given; defaults are the tools', and so is the check of values.
flag     = $(if $($1),--$2 '$($1)')
flags    = $(if $($1),--$2 $($1))# several values
seed     = $(call flag,SEED,seed)
gpu      = $(call flag,GPU,gpu)
data     = $(call flag,DATA,data)
runs     = $(call flag,RUNS,runs)
results  = $(call flag,RESULTS,out)
net      = $(call flag,ARCH,arch) $(call flag,INIT,init)
without  = $(filter no,$(DUPLICATES))
lists    = $(if $(without),--splits splits/no-duplicates)
variant  = $(if $(VARIANT)$(without),--variant '$(or $(VARIANT),no-duplicates)')
split    = $(PY) tools/split_folds.py $(data) $(call flag,PUBLISHED,published) \
           $(patsubst %,--%-duplicates,$(filter-out yes,$(DUPLICATES)))
weak     = $(call flag,WEAK,weak)
which    = $(data) $(runs) $(lists) $(call flags,SUBSET,subset) $(net) $(weak) $(variant) $(seed) $(gpu) $(call flags,FOLD,fold)
training = $(call flag,BATCH,batch-size) $(call flag,ITERS,iterations) $(call flag,MEAN,mean) $(call flags,SET,set)
executor = $(if $(EXECUTOR)$(filter GPUS_PER_RUN CPUS_PER_RUN,$(GIVEN)),$(call flag,EXECUTOR,executor) \
           $(call flag,GPUS_PER_RUN,gpus-per-run) $(call flag,CPUS_PER_RUN,cpus-per-run))
paper    = $(PY) tools/paper.py $(filter-out paper,$@) $(data) $(runs) $(results) $(lists) $(net) $(seed) \
           $(call flag,SEEDS,seeds) $(gpu) $(training) $(executor)

.SILENT:
.DEFAULT_GOAL := help
.PHONY: $(shell sed -n 's/^\([a-z0-9-]*\):.*/\1/p' '$(SELF)')

help: ## list targets and variables
	echo 'Targets'
	awk -F ':.*## ' '/^[a-z0-9-]+:.*## / {printf "  %-12s %s\n", $$1, $$2}' '$(SELF)'
	echo
	echo 'Variables, as in `make fold INIT=places FOLD=2`'
	awk -F '## ' '/^#: / {sub(/^#: /, "", $$1); printf "  %-12s %s\n", $$1, $$2}' '$(SELF)'

#: INIT          ## what training starts from: a card in models/, a path to weights, or scratch (default: for squeezenet and googlenet their cards, for pcnn scratch, else caffenet)
#: ARCH          ## finetune, fc7-2, fc6-2, fc9, fc9-frozen, pcnn, squeezenet, googlenet, or probe, squeezenet-probe, googlenet-probe (default: finetune)
#: WEAK          ## folder of weakly labelled pictures that ARCH=pcnn is trained on first, see docs/howto/weak-labels.md
#: SUBSET        ## five_agrees, four_agrees, three_agrees or all (default: five_agrees)
#: FOLD          ## fold of the cross-validation, 1 to 5 (default: 1)
#: DATA          ## folder with images/ and twitter_<subset>.txt, or the DeepSent archive's own (default: data/deepsent)
#: PUBLISHED     ## folder with the authors' fold lists (default: downloaded)
#: RUNS          ## folder of all runs: weights, logs, predictions, results (default: runs)
#: RESULTS       ## folder of tables, figures and the report (default: results)
#: GPU           ## GPU to use: 0 for the first (default: CPU)
#: PRECISION     ## of matrix products: float32, tf32 (GPU only) or bf16 (default: float32)
#: EXECUTOR      ## ray: train over GPUs and machines, see docs/howto/cluster.md (default: one training after the other)
#: GPUS_PER_RUN  ## with EXECUTOR=ray: share of a GPU per training, 0.5 for two trainings on each GPU (default: CPU)
#: CPUS_PER_RUN  ## with EXECUTOR=ray: CPU cores and threads per training (default: 2)
#: SEED          ## random seed of trainings (default: 1701) or, for `make splits`, of the folds
#: SEEDS         ## repeat the paper's trainings with this many seeds, from SEED on (default: 1)
#: BATCH ITERS   ## images per iteration, and iterations (default: the paper's)
#: SET           ## any other choice of docs/protocol.md, as in SET='mirror=0 weight_decay=0'
#: VARIANT       ## name for runs with other choices than the default; their folders end in it
#: DUPLICATES    ## no: train without images that are byte-identical to a test image (default: yes)
#: MEAN          ## mean image (.binaryproto) or channel means b,g,r (default: those of INIT)
#: CAFFE         ## python folder of a real Caffe to use instead of this project's engine
#: FILE          ## weights file that `make models` describes
#: HOST PORT     ## address of `make serve` (default: 127.0.0.1 8000)
#: ARCHIVE       ## zip or tar file of the DeepSent images for `make data` (default: downloaded)
#: PYTHON        ## Python 3.10 or newer that .venv is made from (default: python3)
#: PY            ## Python to use instead of .venv, as a real Caffe needs, see docs/howto/real-caffe.md

setup: $(READY) ## make .venv with all packages (every target does so when needed)

# The pinned packages by their hashes, torch (with its CUDA packages, where there are any), then this project. The stamp comes
# last: a set-up that was interrupted starts again from an empty .venv. `flock`, where there is one, lets one make do it at a time.
$(VENV)/.set-up: requirements.lock pyproject.toml
	$(PYTHON) -c 'import ensurepip, sys; sys.exit(sys.version_info < (3, 10))' 2>/dev/null || \
	  { echo 'setup: $(PYTHON) is not Python 3.10 or newer with venv (Debian: apt install python3-venv); name another by PYTHON=' >&2; exit 2; }
	set -e; exec 9>> requirements.lock; \
	if command -v flock >/dev/null && ! flock -n 9; then \
	  echo 'setup: another make may be setting up $(VENV); waiting for it to end' >&2; flock 9 || true; \
	fi; \
	if [ $@ -nt requirements.lock ] && [ $@ -nt pyproject.toml ]; then exit 0; fi; \
	echo 'Setting up $(VENV): once, some minutes and about 2 GB (more with CUDA)'; \
	if [ -f $@ ]; then rm -f $@; else $(PYTHON) -m venv --clear $(VENV); fi; \
	sed '/^torch==/d' requirements.lock > $(VENV)/hashed.txt; \
	pip='$(PY) -m pip install -q --disable-pip-version-check'; \
	$$pip --no-deps --require-hashes -r $(VENV)/hashed.txt && \
	$$pip $$(grep '^torch==' requirements.lock) && \
	$$pip --no-deps --no-build-isolation -e . || { \
	  echo 'setup: pip could not install the packages, see above; this once it needs PyPI (or a mirror: PIP_INDEX_URL)' >&2; \
	  exit 2; }; \
	touch $@; \
	$(PY) -c 'import torch; cuda = torch.version.cuda; \
	  print(f"Set up with torch {torch.__version__},", f"CUDA {cuda}" if cuda else "CPU only")'

its-own-python:
	{ command -v '$(PY)' && [ ! -d '$(PY)' ]; } >/dev/null || { echo 'PY: $(PY) is not a command' >&2; exit 2; }
	'$(PY)' -m sentiment.cli.python_needs

DEMO_RUNS = $(or $(RUNS),runs/demo)

demo: $(READY) ## Table 2 on drawn images, without a download
	$(PY) tools/demo.py $(gpu)
	$(PY) tools/demo_sources.py $(gpu) --init caffenet
	$(MAKE) --no-print-directory table2 DATA=data/demo RUNS='$(DEMO_RUNS)'
	echo 'Next: make report RUNS=$(DEMO_RUNS); make serve RUNS=$(DEMO_RUNS); make demo-paper'

demo-paper: $(READY) ## all tables and figures on drawn images, without a download
	$(PY) tools/demo.py $(gpu)
	$(PY) tools/demo_sources.py $(gpu)
	$(MAKE) --no-print-directory paper DATA=data/demo RUNS='$(DEMO_RUNS)'

test: $(READY) ## run the quick tests, and show the ten slowest
	$(PYTEST) --durations=10

test-all: $(READY) ## run all tests, those of real sizes and of interrupts too
	$(PYTEST) --durations=10 -m 'slow or not slow'

test-gpu: $(READY) ## run the tests that need a GPU
	$(PYTEST) -m gpu tests/conformance/test_cases_on_gpu.py tests/unit/caffe tests/e2e/test_gpu_tools.py

coverage: $(READY) ## list the lines of python/ that the quick tests do not reach
	$(PY) -m coverage erase
	$(PY) -m coverage run -m pytest -q
	$(PY) -m coverage combine -q
	$(PY) -m coverage report

check: $(READY) ## check style, format and types of the code, and count its lines by package
	$(PY) -m ruff check -q
	$(PY) -m ruff format --check
	$(PY) -m mypy
	for folder in python/caffe python/caffe/[a-z]*/ python/sentiment python/sentiment/[a-z]*/ tools tests; do \
	  find "$$folder" -name '*.py' ! -name '*_pb2.py' -exec cat {} + | wc -l | awk -v at="$$folder" '{printf "%6d  %s\n", $$1, at}'; \
	done

conformance: $(READY) ## compare the engine with measured results of Caffe
	$(PYTEST) tests/conformance

data: $(READY) ## download the DeepSent images (or unpack ARCHIVE)
	$(PY) tools/fetch.py data $(call flag,DATA,out) $(call flag,ARCHIVE,archive)

models: $(READY) ## download the weights and mean of INIT (INIT=all: of every card), or describe the weights in FILE
	$(if $(FILE),$(PY) tools/inspect_model.py '$(FILE)',$(PY) tools/fetch.py models '$(or $(INIT),caffenet)')

splits: $(READY) ## write the fold lists of DATA: the published ones, or shuffled with SEED
	$(split) $(seed)

prototxt: $(READY) ## write the network definitions
	$(PY) tools/make_prototxt.py

solvers: $(READY) ## write the solver definitions
	$(PY) tools/make_solver.py

fold: ## train and test one fold
fold-all: ## train and test all folds of SUBSET, and write the table of all runs
fold-all: FOLD = all
fold fold-all: $(READY)
	$(split) --subset $(or $(SUBSET),five_agrees)
	$(if $(WEAK),$(PY) tools/train_weak.py $(weak) $(runs) $(seed) $(gpu) $(call flag,MEAN,mean))
	$(PY) tools/train.py $(which) $(training)
	$(PY) tools/evaluate.py $(which)
	$(if $(filter fold-all,$@),$(PY) tools/make_tables.py $(runs) $(results) --table runs)

laptop: $(READY) ## SqueezeNet and its linear probe on the real photographs: all in about half an hour on two CPU cores
	$(if $(DATA),,echo 'To download: 70 MB; to train: about half an hour on two CPU cores. The same command resumes.')
	$(if $(DATA),,$(PY) tools/fetch.py data)
	$(split) --subset five_agrees
	$(paper)
	echo 'Next: make serve; make laptop ARCH=googlenet'

report: $(READY) ## write all tables and report.html from the runs in RUNS
	$(PY) tools/make_tables.py $(runs) $(results) --report

paper: ## all tables and figures, and the report
table1: ## fully connected layers as convolutions
table2: ## CaffeNet on the three subsets
table3: ## linear classifiers on each layer of the fine-tuned CaffeNet
table4: ## layer ablations: fc7-2, fc6-2
table5: ## the nine initialisations
table6: ## fc9 and its frozen variant
figure2: ## diagram of the fine-tuned CaffeNet
figure4: ## diagram of the layer ablations
figure5: ## diagram of fc9 and its frozen variant, beside fine-tuning
figure6: ## training losses of the nine initialisations
figure7: ## sentiment maps
table1 figure2 figure4 figure5: $(READY) # show definitions alone
	$(paper)
paper table2 table3 table4 table5 table6 figure6 figure7: $(READY)
	$(split)
	$(paper)

serve: $(READY) ## serve a web page that predicts the sentiment of images
	$(PY) tools/serve.py $(runs) $(data) $(call flag,HOST,host) $(call flag,PORT,port) $(gpu)

bench: $(READY) ## measure speed and memory, as ratios within one run (about five minutes)
	$(PY) benchmarks/run.py $(gpu)

growth: $(READY) ## measure time and memory against images, batch, folds and features (about ten minutes)
	$(PY) benchmarks/growth.py

lock: $(READY) ## pin the newest versions pyproject.toml allows in requirements.lock
	$(PY) -m pip install -q uv
	grep '^torch==' requirements.lock > $(VENV)/torch.txt
	{ echo '# Made by `make lock`. torch has no hash, for its CPU and CUDA builds share a version; its CUDA packages come with it.'; \
	  cat $(VENV)/torch.txt; \
	  $(VENV)/bin/uv pip compile -q pyproject.toml $(VENV)/torch.txt --all-extras --universal --python-version 3.10 \
	    --generate-hashes --no-header --no-annotate | awk '/^[a-z]/ {skip = /^(torch|triton|cuda-|nvidia-)/} !skip'; \
	} > $(VENV)/new.lock
	mv $(VENV)/new.lock requirements.lock

clean: ## remove .venv and caches; data, models, splits and runs stay
	rm -rf $(VENV) .pytest_cache .hypothesis .ruff_cache .mypy_cache .coverage*
	find python tools tests -name __pycache__ -prune -exec rm -rf {} +
