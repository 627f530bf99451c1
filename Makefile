# The two commands of the README, and what developers use. PYTHON=... chooses the interpreter.
.PHONY: demo check docs test coverage container-test pythons programs environment engine image lock \
	lint hooks audit clean

OUT ?= demo

demo:  ## extract the brains of phantom heads, from nothing
	sh scripts/environment.sh
	rm -rf "$(OUT)"
	.venv/bin/brainmask demo "$(OUT)"

check:  ## lint, types, spelling, unit tests and the examples of docstrings, in a minute
	sh scripts/environment.sh test
	sh scripts/check.sh $(ARGS)

test: programs environment  ## all of that and all other tests; KINDS="heads system" chooses
	sh scripts/test.sh $(ARGS)

coverage:  ## the same, and which lines and branches were run, in subprocesses too
	COVERAGE=1 $(MAKE) test

programs:  ## what tests need beside Python: containers, a browser, git-annex, strace
	sh scripts/programs.sh all

environment:  ## .venv with all that the tests import
	sh scripts/environment.sh test

docs:  ## the documentation's site, in build/site; warnings are errors
	sh scripts/environment.sh docs
	NO_MKDOCS_2_WARNING=1 .venv/bin/mkdocs build --quiet --strict

container-test: engine  ## build the image, and run it in the ways that users do
	sh scripts/environment.sh test
	.venv/bin/python -m pytest tests/container $(ARGS)

pythons:  ## install the wheel with Python 3.11 to 3.13 and oldest dependencies, and extract a brain
	sh scripts/environment.sh test
	sh scripts/pythons.sh

engine:  ## something that builds and runs containers, where there is none
	sh scripts/programs.sh

image:  ## the container image; ENGINE=podman, IMAGE=name, VARIANT=gpu, MODELS="brainy ams"
	sh scripts/image.sh

lock:  ## lock anew what the images are made of; UPGRADE=--upgrade takes the newest
	sh scripts/environment.sh test
	UV=.venv/bin/uv sh scripts/lock.sh

hooks:  ## check each commit before it is made
	sh scripts/environment.sh test
	.venv/bin/pre-commit install

lint:  ## fix what can be fixed
	sh scripts/environment.sh test
	.venv/bin/ruff check --fix .
	.venv/bin/ruff format .

audit:  ## look up known vulnerabilities of what the images are made of, in PyPI's database
	$(or $(PYTHON),python3) -m venv build/audit
	build/audit/bin/python -m pip install --quiet pip-audit
	for variant in cpu gpu; do build/audit/bin/pip-audit --strict --disable-pip \
		--require-hashes --requirement requirements/$$variant.txt || exit 1; done

clean:
	rm -rf .venv build dist demo *.egg-info
