# The two commands of the README, and what developers use. PYTHON=... chooses the interpreter.
.PHONY: demo test container-test engine image lock lint audit clean

OUT ?= demo

demo:  ## extract the brains of phantom heads, from nothing
	sh scripts/environment.sh
	rm -rf "$(OUT)"
	.venv/bin/brainmask demo "$(OUT)"

test: engine  ## lint, then all tests
	sh scripts/environment.sh test
	command -v chromedriver >/dev/null || sh scripts/debian.sh chromium chromium-driver || true
	command -v git-annex >/dev/null || sh scripts/debian.sh git git-annex || true
	command -v strace >/dev/null || sh scripts/debian.sh strace || true
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/python -m pytest $(ARGS)

container-test: engine  ## build the image, and run it in the ways that users do
	sh scripts/environment.sh test
	.venv/bin/python -m pytest tests/container $(ARGS)

engine:  ## something that builds and runs containers, where there is none
	docker info >/dev/null 2>&1 || command -v buildah >/dev/null \
		|| sh scripts/debian.sh buildah podman runc || true

image:  ## the container image; ENGINE=podman, IMAGE=name, VARIANT=gpu, MODELS="brainy ams"
	sh scripts/image.sh

lock:  ## lock anew what the images are made of; UPGRADE=--upgrade takes the newest
	sh scripts/environment.sh test
	.venv/bin/python -m pip install --quiet uv
	UV=.venv/bin/uv sh scripts/lock.sh

lint:
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
