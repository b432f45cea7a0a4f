# `make help` lists what there is. Everything is installed into folders of this checkout.

SHELL := /bin/bash
.DEFAULT_GOAL := help
PYTHON ?= $(shell for p in python3.12 python3 python; do \
	"$$p" -c 'import sys; sys.exit(sys.version_info[:2] != (3, 12))' 2>/dev/null && { echo $$p; break; }; done)
STAGE ?= dev
export PYTHONUNBUFFERED = 1 PIP_DISABLE_PIP_VERSION_CHECK = 1

.PHONY: help run training test test-training fuzz fuzz-routes lint bench drill demo deploy destroy vendor pin-images clean

help: ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 16

run: .venv/local.stamp ## start everything on this machine: http://127.0.0.1:8000 (PORT= to change)
	@exec .venv/bin/python -m local

training: .venv-training/training.stamp ## install what training on this machine needs (6 GB with CUDA)

test: .venv/dev.stamp ## run the tests that need no torch
	.venv/bin/python -m pytest -n auto --maxprocesses 4 --dist loadfile $(ARGS)

test-training: .venv-training/training.stamp ## run the tests that need torch (6 GB with CUDA)
	.venv-training/bin/python -m pytest -m training tests/training tests/vision $(ARGS)

fuzz: .venv/dev.stamp ## damage 20,000 pictures of each format and see that each is read or refused
	.venv/bin/python benchmarks/fuzz.py $(ARGS)

fuzz-routes: .venv/dev.stamp ## send damaged pictures by every way that keeps one; COUNT= of each format
	FUZZ_ROUTES=$(or $(COUNT),2000) .venv/bin/python -m pytest tests/api/test_fuzz_routes.py -n 0 --timeout 0 $(ARGS)

lint: .venv/dev.stamp ## check style and types
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/mypy

bench: .venv-training/training.stamp ## measure detection side by side with ultralytics
	.venv-training/bin/python benchmarks/detection.py $(ARGS)

drill: .venv/dev.stamp ## let honest people and vandals correct photos, and see what becomes of it
	.venv/bin/python benchmarks/poisoning.py $(ARGS)

demo: .venv/local.stamp .venv-training/training.stamp ## watch a weak model get better: people, vandals, training, gate
	@exec .venv/bin/python -m local.demo $(ARGS)

deploy: .venv/local.stamp ## deploy into your AWS account (STAGE=dev)
	.venv/bin/python -m deploy up --stage $(STAGE) $(ARGS)

destroy: .venv/local.stamp ## take a stage down again; what people sent stays (STAGE=dev)
	.venv/bin/python -m deploy destroy --stage $(STAGE) $(ARGS)

vendor: .venv/local.stamp ## fetch the libraries of the pages anew, as pinned in deploy/vendor.py
	.venv/bin/python -m deploy.vendor

pin-images: .venv/local.stamp ## write the digests of the base images into the Dockerfiles
	.venv/bin/python -m deploy.pin_images

clean: ## remove what was installed and cached; the data in .sightloop stays
	rm -rf .venv .venv-training .cache .mypy_cache .ruff_cache .pytest_cache .hypothesis

# A stamp is written last, so an install that was interrupted is taken up again.
.venv/bin/python .venv-training/bin/python:
	@test -n "$(PYTHON)" || { echo "sightloop: Python 3.12 is needed and was not found: install it, or name it with PYTHON=" >&2; exit 1; }
	@echo "making $(firstword $(subst /, ,$@)) with $$($(PYTHON) --version)"
	@$(PYTHON) -m venv $(firstword $(subst /, ,$@)) || { rm -rf $(firstword $(subst /, ,$@)); echo "sightloop: $(PYTHON) cannot make a virtual environment: install its venv module (Debian: apt install python3.12-venv)" >&2; exit 1; }

.venv/local.stamp: requirements.txt requirements-local.txt | .venv/bin/python
	@echo "installing the service and its parts (about 400 MB, once) …"
	@set -o pipefail; .venv/bin/python -m pip install --progress-bar off -r requirements-local.txt \
	| while read -r did what _; do case $$did in \
	Collecting|Processing) echo "  $${what##*/}" ;; Installing) echo '  unpacking …' ;; esac; done
	@touch $@

.venv/dev.stamp: requirements-dev.txt .venv/local.stamp
	@echo "installing what tests and checks need …"
	@.venv/bin/python -m pip install -q -r requirements-dev.txt
	@test -n "$(BROWSER)" || .venv/bin/python -m playwright install chromium >/dev/null 2>&1 || true
	@touch $@

.venv-training/training.stamp: requirements.txt requirements-training.txt | .venv-training/bin/python
	@echo "installing torch and ultralytics (6 GB with CUDA, once) …"
	@.venv-training/bin/python -m pip install -q -r requirements-training.txt
	@touch $@

BROWSER := $(shell command -v chromium || command -v chromium-browser || command -v google-chrome)
