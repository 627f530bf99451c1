# The two commands of the README, and what developers use. PYTHON=... chooses the interpreter.
.PHONY: demo test lint clean

OUT ?= demo

demo:  ## extract the brains of phantom heads, from nothing
	sh scripts/environment.sh
	rm -rf "$(OUT)"
	.venv/bin/brainmask demo "$(OUT)"

test:  ## lint, then all tests
	sh scripts/environment.sh test
	command -v chromedriver >/dev/null || sh scripts/debian.sh chromium chromium-driver || true
	command -v git-annex >/dev/null || sh scripts/debian.sh git git-annex || true
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/python -m pytest $(ARGS)

lint:
	sh scripts/environment.sh test
	.venv/bin/ruff check --fix .
	.venv/bin/ruff format .

clean:
	rm -rf .venv build dist demo *.egg-info
