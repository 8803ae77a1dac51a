# The paper's experiments by name. `make` alone lists targets and variables.

PYTHON ?= python3
INIT   ?= caffenet
ARCH   ?= finetune
SUBSET ?= five_agrees
FOLD   ?= 1
DATA   ?= data/deepsent
RUNS   ?= runs
RESULTS ?= results

VENV   := .venv
ifeq ($(PY),)
PY     := $(VENV)/bin/python
READY  := $(VENV)/.set-up
else
READY  := its-own-python
endif
PYTEST := $(PY) -m pytest -q
SLOWEST := --durations=10

# A misspelt variable would be one that was never given.
H := \#
KNOWN := $(shell sed -n 's/^.: \([A-Z_ ]*\)$H$H.*/\1/p' '$(firstword $(MAKEFILE_LIST))')
GIVEN := $(strip $(foreach name,$(.VARIABLES),$(if $(filter command,$(firstword $(origin $(name)))),$(name))))
ifneq ($(filter-out $(KNOWN),$(GIVEN)),)
$(error no variable is called $(filter-out $(KNOWN),$(GIVEN)); `make` alone lists those there are)
endif
ifneq ($(filter-out yes no,$(TWINS)),)
$(error TWINS is yes or no, not $(TWINS))
endif
ifneq ($(and $(VARIANT),$(filter demo demo-paper paper table% figure%,$(MAKECMDGOALS))),)
$(error VARIANT is for fold and fold-all; a whole table with other choices has RUNS=folder and RESULTS=folder of its own)
endif
ifneq ($(and $(filter command environment,$(origin FOLD)),$(filter fold-all,$(MAKECMDGOALS))),)
$(error FOLD is for fold; fold-all trains all five)
endif

# Nor would one that none of the targets takes. What says where (DATA, RUNS, RESULTS, GPU) may be given to all alike.
OF_PAPER := demo demo-paper paper table% figure%
of = $(foreach name,$1,$(if $(and $(filter $(name),$(GIVEN)),$(filter-out help,$(MAKECMDGOALS))),$(if \
     $(filter $2,$(MAKECMDGOALS)),,$(error $(name) is for $2; not for $(MAKECMDGOALS)))))
$(call of,FOLD,fold)
$(call of,SUBSET,fold fold-all)
$(call of,INIT,fold fold-all models $(OF_PAPER))
$(call of,ARCH BATCH ITERS SET MEAN,fold fold-all $(OF_PAPER))
$(call of,SEED PUBLISHED TWINS,splits fold fold-all $(OF_PAPER))
$(call of,VARIANT,fold fold-all)
$(call of,SEEDS EXECUTOR GPUS_PER_RUN CPUS_PER_RUN,$(OF_PAPER))
$(call of,ARCHIVE,data)
$(call of,FILE,models)
$(call of,HOST PORT,serve)
ifeq ($(EXECUTOR),)
ifneq ($(filter GPUS_PER_RUN CPUS_PER_RUN,$(GIVEN)),)
$(error $(firstword $(filter GPUS_PER_RUN CPUS_PER_RUN,$(GIVEN))) is for EXECUTOR=ray)
endif
endif

# Shells export these for other ends; any other variable of the environment counts, which is said.
$(foreach name,HOST PORT FILE,$(if $(filter environment,$(origin $(name))),$(eval $(name) :=)))
ifeq ($(MAKELEVEL),0)
FOUND := $(strip $(foreach name,$(KNOWN),$(if $(and $($(name)),$(filter environment,$(origin $(name)))),$(name)=$($(name)))))
ifneq ($(FOUND),)
$(warning from the environment: $(FOUND))
endif
endif

# A real Caffe's python folder, put in front of this project's own `caffe`.
ifdef CAFFE
ifneq ($(shell test -f '$(CAFFE)/caffe/__init__.py' || echo missing),)
$(error CAFFE: $(CAFFE) is not the python folder of a Caffe (it has no caffe/__init__.py))
endif
export PYTHONPATH := $(CAFFE)$(if $(PYTHONPATH),:$(PYTHONPATH))
endif

# A Python that this project is not installed in.
ifeq ($(READY),its-own-python)
export PYTHONPATH := $(if $(PYTHONPATH),$(PYTHONPATH):)$(CURDIR)/python
endif

# How exactly this project's engine computes products.
ifdef PRECISION
export CAFFE_PRECISION := $(PRECISION)
endif

# Flags of the commands, from the variables that were given. A variable's origin is `file` where it has its default.
seed     = $(if $(SEED),--seed $(SEED))
gpu      = $(if $(GPU),--gpu $(GPU))
data     = --data '$(DATA)'
twins    = $(filter no,$(TWINS))
lists    = $(if $(twins),--splits splits/no-twins)
variant  = $(if $(VARIANT)$(twins),--variant '$(or $(VARIANT),no-twins)')
which    = $(data) --runs '$(RUNS)' $(lists) --subset $(SUBSET) --arch $(ARCH) --init '$(INIT)' $(variant) $(seed) $(gpu)
split    = $(PY) tools/split_folds.py $(data) $(if $(twins),--no-twins) $(if $(PUBLISHED),--published '$(PUBLISHED)')
training = $(if $(BATCH),--batch-size $(BATCH)) $(if $(ITERS),--iterations $(ITERS)) $(if $(MEAN),--mean '$(MEAN)')
given    = $(if $(filter-out file,$(origin $1)),--$2 '$($1)')
where    = $(if $(EXECUTOR),--executor $(EXECUTOR) $(if $(GPUS_PER_RUN),--gpus-per-run $(GPUS_PER_RUN)) \
           $(if $(CPUS_PER_RUN),--cpus-per-run $(CPUS_PER_RUN)))
paper    = $(PY) tools/paper.py $(filter-out paper,$@) $(data) --runs '$(RUNS)' --out '$(RESULTS)' $(lists) $(call given,ARCH,arch) \
           $(call given,INIT,init) $(seed) $(if $(SEEDS),--seeds $(SEEDS)) $(gpu) $(training) $(if $(SET),--set $(SET)) $(where)

.SILENT:
.DEFAULT_GOAL := help
.PHONY: help setup demo demo-paper test test-all test-gpu coverage check conformance data models splits prototxt solvers fold \
        fold-all table1 table2 table3 table4 table5 table6 figure2 figure4 figure5 figure6 figure7 paper report \
        serve bench growth lock clean its-own-python

help: ## this list
	echo 'Targets'
	awk -F ':.*## ' '/^[a-z0-9-]+:.*## / {printf "  %-12s %s\n", $$1, $$2}' $(firstword $(MAKEFILE_LIST))
	echo
	echo 'Variables, as in `make fold INIT=places FOLD=2`'
	awk -F '## ' '/^#: / {sub(/^#: /, "", $$1); printf "  %-12s %s\n", $$1, $$2}' $(firstword $(MAKEFILE_LIST))

#: INIT          ## what to start from: a card in models/, a path to a .caffemodel, or scratch (caffenet)
#: ARCH          ## finetune, fc7-2, fc6-2, fc9, fc9-frozen, squeezenet (finetune)
#: SUBSET        ## five_agrees, four_agrees, three_agrees or all (five_agrees)
#: FOLD          ## 1 to 5 (1)
#: DATA          ## folder with images/ and twitter_<subset>.txt, or the archive's own (data/deepsent)
#: PUBLISHED     ## folder with the authors' fold lists (fetched)
#: RUNS          ## folder for everything a run makes (runs)
#: GPU           ## number of the CUDA card (the CPU)
#: PRECISION     ## of products: float32, tf32 (on a GPU) or bf16 (float32)
#: EXECUTOR      ## ray: trainings of the paper's targets over GPUs and machines, docs/howto/cluster.md (here, in turn)
#: GPUS_PER_RUN  ## with EXECUTOR=ray, of a GPU a training's part, 0.5 for two on a card (the CPU)
#: CPUS_PER_RUN  ## with EXECUTOR=ray, CPU cores and threads of a training (2)
#: RESULTS       ## folder for tables, figures and the report (results)
#: SEED          ## of a training's random numbers (1701), another has run folders of its own; of the folds in `make splits`
#: SEEDS         ## how many seeds the paper's trainings are repeated with (1)
#: BATCH ITERS   ## images an iteration, iterations (the paper's)
#: SET           ## any other choice of docs/protocol.md, as SET='mirror=0 weight_decay=0'
#: VARIANT       ## a word for the folder of runs with other choices than the usual
#: TWINS         ## no: train without images that are byte-identical to a test image (yes)
#: MEAN          ## mean image (.binaryproto) or channel means b,g,r (the source's own)
#: CAFFE         ## python folder of a real Caffe to use instead of this project's engine
#: FILE          ## a file of weights that `make models` tells about
#: HOST PORT     ## where `make serve` listens (127.0.0.1 8000)
#: ARCHIVE       ## zip or tar of the DeepSent images, for `make data` (downloaded)
#: PYTHON        ## Python 3.10 or newer that .venv is made from (python3)
#: PY            ## a Python to use instead of .venv, as a real Caffe needs, see docs/howto/real-caffe.md

setup: $(READY) ## make .venv with everything in it (every target does so when needed)

# Each step in its order: the pinned packages by their hashes, torch (its CUDA packages too, where there are any), this
# project. The stamp comes last, so a set-up that was cut short starts from an empty .venv. One make does it at a time, where
# there is a `flock` to hold the others back.
$(VENV)/.set-up: requirements.lock pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || \
	  { echo 'setup: $(PYTHON) is not Python 3.10 or newer; name one with PYTHON=' >&2; exit 2; }
	$(PYTHON) -c 'import ensurepip' 2>/dev/null || \
	  { echo 'setup: $(PYTHON) cannot make a virtual environment; on Debian: apt install python3-venv' >&2; exit 2; }
	start=$$(date +%s); set -e; exec 9>> requirements.lock; \
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
	$(PY) -c 'import torch; cuda = torch.version.cuda; \
	  print(f"torch {torch.__version__},", f"CUDA {cuda}" if cuda else "CPU only")'; \
	touch $@; \
	echo "Set up in $$(($$(date +%s) - start)) s"

its-own-python:
	{ command -v '$(PY)' && [ ! -d '$(PY)' ]; } >/dev/null || { echo 'PY: $(PY) is no command' >&2; exit 2; }
	'$(PY)' -m sentiment.cli.python_needs

DEMO_RUNS = $(if $(filter file,$(origin RUNS)),runs/demo,$(RUNS))

demo: $(READY) ## Table 2 on drawn pictures, no download
	$(PY) tools/demo.py $(gpu)
	$(PY) tools/demo_sources.py $(gpu) --init caffenet
	$(MAKE) --no-print-directory table2 DATA=data/demo RUNS='$(DEMO_RUNS)'
	echo 'Next: make report RUNS=$(DEMO_RUNS); make serve RUNS=$(DEMO_RUNS); make demo-paper'

demo-paper: $(READY) ## all tables and figures on drawn pictures, no download
	$(PY) tools/demo.py $(gpu)
	$(PY) tools/demo_sources.py $(gpu)
	$(MAKE) --no-print-directory paper DATA=data/demo RUNS='$(DEMO_RUNS)'

test: $(READY) ## the quick tests, and the slowest ten of them
	$(PYTEST) $(SLOWEST)

test-all: $(READY) ## all tests: real sizes and interrupts too
	$(PYTEST) $(SLOWEST) -m 'slow or not slow'

test-gpu: $(READY) ## the tests that need a CUDA card
	$(PYTEST) -m gpu tests/conformance/test_cases_on_gpu.py tests/unit/caffe/test_gpu.py tests/e2e/test_gpu_tools.py

coverage: $(READY) ## lines of python/ that the quick tests do not reach
	$(PY) -m coverage erase
	$(PY) -m coverage run -m pytest -q
	$(PY) -m coverage combine -q
	$(PY) -m coverage report

check: $(READY) ## style, format and types of the code
	$(PY) -m ruff check -q
	$(PY) -m ruff format --check
	$(PY) -m mypy

conformance: $(READY) ## the engine against measured Caffe
	$(PYTEST) tests/conformance

data: $(READY) ## fetch the DeepSent images (or unpack ARCHIVE)
	$(PY) tools/fetch.py data --out '$(DATA)' $(if $(ARCHIVE),--archive '$(ARCHIVE)')

models: $(READY) ## fetch INIT's weights and mean (INIT=all: every card's), or say what FILE is
	$(if $(FILE),$(PY) tools/inspect_model.py '$(FILE)',$(PY) tools/fetch.py models '$(INIT)')

splits: $(READY) ## fold lists of DATA, shuffled with SEED where they are not published
	$(split) $(seed)

prototxt: $(READY) ## write the network definitions
	$(PY) tools/make_prototxt.py

solvers: $(READY) ## write the solver definitions
	$(PY) tools/make_solver.py

fold: $(READY) ## train and test one fold
	$(split) --subset $(SUBSET)
	$(PY) tools/train.py $(which) $(training) $(if $(SET),--set $(SET)) --fold $(FOLD)
	$(PY) tools/evaluate.py $(which) --fold $(FOLD)

fold-all: $(READY) ## train and test the five folds of SUBSET, then the table of all runs
	$(split) --subset $(SUBSET)
	$(PY) tools/train.py $(which) $(training) $(if $(SET),--set $(SET)) --fold all
	$(PY) tools/evaluate.py $(which) --fold all
	$(PY) tools/make_tables.py --runs '$(RUNS)' --out '$(RESULTS)' --table runs

paper: $(READY) ## all tables and figures, and the report
	$(split)
	$(paper)

report: $(READY) ## all tables and report.html from the runs there are
	$(PY) tools/make_tables.py --runs '$(RUNS)' --out '$(RESULTS)' --report

table1: ## fully connected layers as convolutions
table2: ## CaffeNet on the three subsets
table3: ## linear classifiers on each layer of the fine-tuned CaffeNet
table4: ## layer ablations: fc7-2, fc6-2
table5: ## the nine initialisations
table6: ## fc9 and its frozen variant
figure2: ## the fine-tuned CaffeNet, drawn from its definition
figure4: ## the layer ablations, likewise
figure5: ## fc9 and its frozen variant, beside fine-tuning
figure6: ## training losses of the nine initialisations
figure7: ## sentiment maps
table1 figure2 figure4 figure5: $(READY) # of definitions alone
	$(paper)
table2 table3 table4 table5 table6 figure6 figure7: $(READY)
	$(split)
	$(paper)

serve: $(READY) ## a web page that tells the sentiment of pictures
	$(PY) tools/serve.py --runs '$(RUNS)' $(call given,DATA,data) $(if $(HOST),--host '$(HOST)') $(if $(PORT),--port $(PORT)) $(gpu)

bench: $(READY) ## speed, as ratios measured in one run (about ten minutes)
	$(PY) benchmarks/run.py $(gpu)

growth: $(READY) ## time and memory against images, batch, folds, features (about ten minutes)
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
