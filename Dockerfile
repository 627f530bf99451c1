# The BIDS App for processors, linux/amd64:
#
#   docker build -t bids-brainmask .
#   docker run --rm --read-only --network none --user "$(id -u):$(id -g)" \
#       -v /my/dataset:/data:ro -v /my/output:/out bids-brainmask /data /out participant
#
# Build arguments:
#   BASE      a Debian or Ubuntu image with Python 3.11 or newer and pip
#   MODELS    models to download into the image, such as "brainy ams"; the embedded one is always there
#   IMAGE     what the image will be called, for the record in the outputs' GeneratedBy
#   VERSION, REVISION   of the source, for the labels
ARG BASE=python:3.11-slim-bookworm

FROM ${BASE} AS build
WORKDIR /src
COPY pyproject.toml ./
# The dependencies, with TensorFlow's build for processors in place of the one with CUDA kernels:
# the same modules of the same version, smaller by 0.6 GB. pip knows no such substitution, so they
# are installed from this list, and the app with --no-deps. Hence `pip check` says in the image that
# bids-brainmask requires tensorflow, which is not installed: that is all it says, and it is no harm.
RUN python3 -c 'import tomllib; print(*tomllib.load(open("pyproject.toml", "rb"))["project"]["dependencies"], sep="\n")' \
    | sed -E 's/^tensorflow([^[:alnum:]_-]|$)/tensorflow-cpu\1/' > requirements.txt \
    && grep -q '^tensorflow-cpu' requirements.txt
COPY README.md LICENSE NOTICE setup.py ./
COPY bids_brainmask bids_brainmask
RUN python3 -m pip wheel --no-cache-dir --no-deps --wheel-dir /dist .

FROM ${BASE}
# Nothing is written outside of the output folder, and no packages are taken from the user's home.
# TensorFlow's import looks for a folder of temporary files, and fails where none can be written to
# (--read-only) unless TEST_TMPDIR names one; nothing is put there.
# Matplotlib keeps a list of fonts, and wants a place that can be written to even so.
ENV PYTHONDONTWRITEBYTECODE=1 \
    PYTHONNOUSERSITE=1 \
    TEST_TMPDIR=/tmp \
    MPLCONFIGDIR=/dev/shm/matplotlib \
    TF_CPP_MIN_LOG_LEVEL=2 \
    BIDS_BRAINMASK_MODELS=/opt/bids_brainmask/models

# Of TensorFlow, the C++ headers are left out (0.3 GB). pip compiles what it installs; Python's own
# library comes without bytecode in the official image, and a file of it that does not compile is
# wrong on purpose, as those for lib2to3's tests are.
COPY --from=build /src/requirements.txt /opt/bids_brainmask/
RUN python3 -m pip install --no-cache-dir -r /opt/bids_brainmask/requirements.txt \
    && rm -r "$(python3 -c 'import sysconfig; print(sysconfig.get_path("platlib"))')/tensorflow/include" \
    && { python3 -m compileall -q -x '(site|dist)-packages' \
        "$(python3 -c 'import sysconfig; print(sysconfig.get_path("stdlib"))')" || true; }

COPY --from=build /dist /opt/bids_brainmask/dist
RUN python3 -m pip install --no-cache-dir --no-deps /opt/bids_brainmask/dist/*.whl \
    && bids-brainmask --version

ARG MODELS=""
RUN mkdir -p "$BIDS_BRAINMASK_MODELS" \
    && for model in $MODELS; do brainmask models get "$model" || exit 1; done

ARG IMAGE="bids-brainmask"
ARG VERSION="unknown"
ARG REVISION="unknown"
ENV BIDS_BRAINMASK_IMAGE=${IMAGE}
LABEL org.opencontainers.image.title="bids_brainmask" \
    org.opencontainers.image.description="A BIDS App that extracts brains in T1-weighted MRI" \
    org.opencontainers.image.version="${VERSION}" \
    org.opencontainers.image.revision="${REVISION}" \
    org.opencontainers.image.licenses="Apache-2.0" \
    org.opencontainers.image.source="https://github.com/bids-brainmask/bids_brainmask"

# Any other user does as well: --user needs no entry in /etc/passwd, nor a home.
USER 1000:1000
ENTRYPOINT ["bids-brainmask"]
