# The BIDS App, linux/amd64. How to build and run it: docs/containers.md
#
# Build arguments:
#   VARIANT    cpu; or gpu, with TensorFlow's CUDA libraries, for NVIDIA's driver
#   MODELS     published models to bake in, verified: names, or none; "auto" takes those whose
#              publishers answer. The embedded ones are always there
#   BASE       an image with Python 3.11 and pip
#   IMAGE      what the image will be called, for the record in the outputs' GeneratedBy
#   VERSION, REVISION   of the source, for the labels
ARG BASE=python:3.11-slim-bookworm

# What it runs on, in a virtual environment without pip. Left out are TensorFlow's C++ headers and
# the packages' own tests.
# Matplotlib takes its list of fonts from a folder only if it could write to it, and where it cannot
# write anywhere its import fails. The image has the list, and what Keras and Dask would leave in
# the user's home: nothing is to be written.
# Bytecode is made here, once, and is good whatever becomes of the files' times: of Python's own
# library too, which comes without in the official image. (A file of it that does not compile is
# wrong on purpose, as those for lib2to3's tests are.)
FROM ${BASE} AS runtime
ENV PYTHONDONTWRITEBYTECODE=1
ARG VARIANT=cpu
COPY requirements/${VARIANT}.txt /opt/bids_brainmask/requirements.txt
RUN python3 -m venv --without-pip /opt/bids_brainmask \
    && python3 -m pip --python /opt/bids_brainmask/bin/python3 install --no-cache-dir --no-compile \
        --no-deps --only-binary :all: --require-hashes -r /opt/bids_brainmask/requirements.txt \
    && cd /opt/bids_brainmask/lib/python3.*/site-packages \
    && rm -r tensorflow/include \
    && find . -type d -name tests -prune -exec rm -r {} + \
    && sed -i 's/os\.access(str(configdir), os\.W_OK) and configdir/configdir/' matplotlib/__init__.py \
    && grep -q '^            if configdir.is_dir():$' matplotlib/__init__.py \
    && mkdir -p /opt/bids_brainmask/etc/keras && echo '{}' > /opt/bids_brainmask/etc/keras/keras.json \
    && MPLCONFIGDIR=/opt/bids_brainmask/etc/matplotlib DASK_CONFIG=/opt/bids_brainmask/etc/dask \
        /opt/bids_brainmask/bin/python3 -c 'import dask_jobqueue, matplotlib.font_manager' \
    && python3 -m compileall -q -j 0 --invalidation-mode unchecked-hash . \
    && { python3 -m compileall -q -j 0 --invalidation-mode unchecked-hash -x '(site|dist)-packages' \
        "$(python3 -c 'import sysconfig; print(sysconfig.get_path("stdlib"))')" || true; }

# The app and its models, under /app as they will lie under /. The wheel is built by the setuptools
# that is locked. Apptainer passes on the host's environment: with -I, Python heeds no PYTHONPATH,
# PYTHONHOME or PYTHONUSERBASE of it; -B stands for PYTHONDONTWRITEBYTECODE, which -I ignores too.
FROM runtime AS app
WORKDIR /src
COPY pyproject.toml setup.py README.md LICENSE NOTICE ./
COPY bids_brainmask bids_brainmask
RUN python3 -m pip --python /opt/bids_brainmask/bin/python3 install --no-cache-dir --no-compile \
        --no-deps --no-build-isolation --root /app --root-user-action ignore . \
    && /opt/bids_brainmask/bin/python3 -m compileall -q --invalidation-mode unchecked-hash /app \
    && sed -i '1s/$/ -IB/' /app/opt/bids_brainmask/bin/*
# "auto" is settled here, and models.txt says to what; a label can only repeat the argument.
COPY scripts/bake_models.py scripts/
ARG MODELS="auto"
RUN mkdir /app/opt/bids_brainmask/models \
    && BIDS_BRAINMASK_MODELS=/app/opt/bids_brainmask/models PYTHONPATH=/src \
        /opt/bids_brainmask/bin/python3 scripts/bake_models.py \
        /app/opt/bids_brainmask/models.txt "$MODELS"

FROM runtime
COPY --from=app /app /

# Nothing is written outside of the output and work folders: libraries find here what they would
# keep in the user's home. CUDA would keep what it compiles.
# TensorFlow's import looks for a folder of temporary files, and fails where none can be written to
# unless TEST_TMPDIR names one; nothing is put there.
ENV PATH=/opt/bids_brainmask/bin:${PATH} \
    PYTHONNOUSERSITE=1 \
    MPLCONFIGDIR=/opt/bids_brainmask/etc/matplotlib \
    KERAS_HOME=/opt/bids_brainmask/etc/keras \
    DASK_CONFIG=/opt/bids_brainmask/etc/dask \
    CUDA_CACHE_DISABLE=1 \
    TEST_TMPDIR=/tmp \
    TF_CPP_MIN_LOG_LEVEL=2 \
    BIDS_BRAINMASK_MODELS=/opt/bids_brainmask/models

ARG MODELS="auto"
ARG VARIANT=cpu
ARG IMAGE="bids-brainmask"
ARG VERSION="0.3.0"
ARG REVISION="unknown"
# It runs. (Without a RUN here, older Buildahs take what follows from their cache, stale or not.)
RUN bids-brainmask --version
ENV BIDS_BRAINMASK_IMAGE=${IMAGE}
LABEL org.opencontainers.image.title="bids_brainmask" \
    org.opencontainers.image.description="A BIDS App that extracts brains and segments meningiomas in T1-weighted MRI" \
    org.opencontainers.image.version="${VERSION}" \
    org.opencontainers.image.revision="${REVISION}" \
    org.opencontainers.image.licenses="Apache-2.0" \
    org.opencontainers.image.source="https://github.com/bids-brainmask/bids_brainmask" \
    io.github.bids-brainmask.variant="${VARIANT}" \
    io.github.bids-brainmask.models="${MODELS}"

# Any other user does as well: --user needs no entry in /etc/passwd, nor a home.
USER 1000:1000
ENTRYPOINT ["bids-brainmask"]
