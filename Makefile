# Two commands do everything on a fresh machine with Python 3.11 and make: `make demo` and `make test`.
PYTHON ?= python3.11
BIN := .venv/bin
METHODS := -m source-copy -m oracle -m face-warp -m photo-rig -m pointillist
MINI := mini mini-flame-position mini-ar-feature mini-ar-position
OPENHEADS := -p openheads-self -p openheads-cross -p openheads-cross-gt

.PHONY: help setup demo demo-full test test-extra lint lock manifests fits mini benchmark clean

help:
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

setup: $(BIN)/.ready ## install everything into .venv

$(BIN)/.ready: pyproject.toml requirements.lock
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	test -x $(BIN)/uv || $(BIN)/python -m pip install --quiet "$$(sed -n 's/^\(uv==[0-9.]*\).*/\1/p' requirements.lock)"
	$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --require-hashes -r requirements.lock
	$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation -e .
	touch $@

demo: setup ## five methods on the embedded protocols: 3 people, 8 driver frames each, one table
	$(BIN)/avatarbench run $(METHODS) $(OPENHEADS) -p portrait-cross --sources 3 --limit 8 --skip-missing || test $$? -eq 3  # 3: a frame without a face was left out, and the table says so

demo-full: setup ## the same on every person and frame
	$(BIN)/avatarbench run $(METHODS) $(OPENHEADS) -p portrait-cross --stride 1 --skip-missing || test $$? -eq 3

test: setup ## all tests
	$(BIN)/python -m pytest

test-extra: setup ## tests that need Debian packages (Chromium, TeX, LLVM); installs them where it may
	$(BIN)/python -m tests.extra.debian
	$(BIN)/python -m pytest -n 0 tests/extra

lint: setup ## ruff and mypy
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy avatarbench methods protocols benchmarks

lock: setup ## resolve requirements.lock anew
	$(BIN)/uv pip compile --quiet pyproject.toml --all-extras --universal --generate-hashes --no-emit-index-url \
	  --no-emit-find-links --python-version 3.11 --custom-compile-command "make lock" -o requirements.lock

manifests: setup ## resolve the protocols' shipped manifests anew, after the embedded data changed
	$(BIN)/python -m avatarbench.run.pinned protocols/manifests

fits: setup ## fit the avatars of the test split's people anew; VIEWS: see data openheads-test --views
	$(BIN)/python -m avatarbench.openheads.fits "$(VIEWS)" avatarbench/openheads/test

mini: setup ## train AvatarPointillist's mini anew, in DIR, with the ablations of its decoder: hours on two cores, interrupt it when you like
	@test -n "$(DIR)" || { echo "name a folder: make mini DIR=mini"; exit 2; }
	$(BIN)/avatarbench train pointillist data --data "$(DIR)/people" --openheads 57 --out "$(DIR)/set"
	$(BIN)/avatarbench data openheads-test --views --out "$(DIR)/views"
	$(BIN)/avatarbench train pointillist data --data "$(DIR)/views" --portraits avatarbench/openheads/test \
	  --tokenizer "$(DIR)/set" --out "$(DIR)/held"
	$(BIN)/avatarbench train pointillist ar --data "$(DIR)/set" --out "$(DIR)/ar"
	$(BIN)/avatarbench train pointillist export "$(DIR)/ar/ar.safetensors" --out "$(DIR)/mini.safetensors" \
	  --temperature 0.95 --top-p 0.98 --consensus 6
	$(BIN)/avatarbench train pointillist evaluate --data "$(DIR)/set" --held-out "$(DIR)/held" \
	  --checkpoint "$(DIR)/mini.safetensors" --out "$(DIR)/evaluation"
	$(BIN)/avatarbench train pointillist clouds --data "$(DIR)/set" --checkpoint "$(DIR)/mini.safetensors" --portraits 1 \
	  --consensus 1 --out "$(DIR)/clouds"
	$(BIN)/avatarbench train pointillist clouds --data "$(DIR)/held" --checkpoint "$(DIR)/mini.safetensors" --portraits 1 \
	  --consensus 1 --out "$(DIR)/held-clouds"
	for preset in $(MINI); do \
	  $(BIN)/avatarbench train pointillist decoder --preset $$preset --data "$(DIR)/set" --clouds "$(DIR)/clouds" \
	    --views "$(DIR)/people" --eval "$(DIR)/held" --eval-clouds "$(DIR)/held-clouds" --eval-views "$(DIR)/views" \
	    --out "$(DIR)/$$preset" || exit; \
	  $(BIN)/avatarbench train pointillist export "$(DIR)/$$preset/decoder.safetensors" --out "$(DIR)/$$preset.decoder.safetensors"; \
	done

benchmark: setup ## speed and memory beside the reference packages
	$(BIN)/python benchmarks/metrics.py
	$(BIN)/python benchmarks/rig.py
	$(BIN)/python benchmarks/openheads_generate.py
	$(BIN)/python benchmarks/tracking.py
	$(BIN)/python benchmarks/rasterize.py --skip-mitsuba
	$(BIN)/python benchmarks/generate.py
	$(BIN)/python benchmarks/animate.py

clean: ## remove the environment and build products, not your runs
	rm -rf .venv build dist *.egg-info
