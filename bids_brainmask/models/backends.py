# SPDX-License-Identifier: Apache-2.0
"""The backends: OpenVINO on processors; TensorFlow on GPUs, and as the reference.

Both build the network from the same `Architecture` and the same named weights, and return
probabilities. The OpenVINO graph is built operation by operation, without TensorFlow and Keras:
their import alone takes longer than the inference of a scan.
"""

from __future__ import annotations

import functools
import importlib
import logging
import os
import textwrap
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from threading import Thread
from typing import TYPE_CHECKING

import numpy as np

from bids_brainmask import machine
from bids_brainmask.errors import ModelError, in_a_line
from bids_brainmask.models import int8, registry, unet, weights
from bids_brainmask.models.graph import Weights, import_openvino, openvino_graph
from bids_brainmask.models.registry import Model
from bids_brainmask.models.unet import Architecture

if TYPE_CHECKING:
    import keras
    import openvino
    import tensorflow

log = logging.getLogger(__name__)

HIDDEN = ("", "-1", "none", "NoDevFiles")
"""Values of ``CUDA_VISIBLE_DEVICES`` that hide every GPU."""


MOST_SHAPES = 8
"""Shapes of blocks for which a network stays compiled; each takes 10 to 40 MB."""

CAPABILITIES = "OPTIMIZATION_CAPABILITIES"
"""OpenVINO's name for the precisions that a processor computes in."""


@dataclass(frozen=True)
class Network:
    """A network ready to run."""

    run: Callable[[np.ndarray], np.ndarray]
    """From scaled intensities to probabilities in [0, 1]; both (I, J, K), float32."""

    engine: str
    """The backend and its version, for the record."""

    divisor: int
    """Every axis of the input must be a multiple of this."""

    precision: str = "float32"
    """Number format of its products."""

    prepare: Callable[[tuple[int, ...]], None] = lambda _: None
    """Start to compile it, in the background, for blocks of a shape that will come."""


@functools.cache
def choose(engine: str) -> str:
    """Name the backend to use: ``auto`` is TensorFlow where there is a GPU, else OpenVINO.

    A GPU or an OpenVINO that cannot be used is reported in one line, once in each process, and
    the next backend is used.
    """
    if engine == "tensorflow" or (engine == "auto" and gpu_works()):
        return "tensorflow"
    try:
        import_openvino().Core().get_property("CPU", "FULL_DEVICE_NAME")
    except (ImportError, RuntimeError) as error:
        why = textwrap.shorten(in_a_line(error), 300)
        log.warning(
            "OpenVINO cannot be used (%s): running in TensorFlow, which starts more slowly",
            why,
        )
        return "tensorflow"
    return "openvino"


def gpu_present() -> bool:
    """Whether a driver shows an NVIDIA device that ``CUDA_VISIBLE_DEVICES`` does not hide."""
    hidden = os.environ.get("CUDA_VISIBLE_DEVICES", "all") in HIDDEN
    return not hidden and any(Path("/dev").glob("nvidia[0-9]*"))


@functools.cache
def gpu_works() -> bool:
    """Whether TensorFlow computes on a GPU; warn of a GPU that is assigned but does not work.

    A small convolution is computed: a GPU that another job holds exclusively, or whose libraries
    are too old, is listed like any other and fails on first use.
    """
    if not gpu_present():
        given = os.environ.get("CUDA_VISIBLE_DEVICES", HIDDEN[0])
        if given not in HIDDEN:
            log.warning(
                "CUDA_VISIBLE_DEVICES is %s, but no driver shows a GPU: running on the CPU", given
            )
        return False
    import tensorflow as tf

    why = "it lists no GPU"
    try:
        if tf.config.list_physical_devices("GPU"):
            with tf.device("GPU:0"):
                tf.nn.conv3d(tf.zeros([1, 4, 4, 4, 1]), tf.zeros([3, 3, 3, 1, 1]), [1] * 5, "SAME")
            return True
    except (tf.errors.OpError, RuntimeError) as error:
        why = textwrap.shorten(in_a_line(error), 300)
    log.warning("a GPU is present, but TensorFlow cannot use it (%s): running on the CPU", why)
    try:
        tf.config.set_visible_devices([], "GPU")
    except RuntimeError:  # it has started with it; `keras_network` keeps each call off the GPU
        log.debug("TensorFlow has started and still sees the GPU")
    return False


def start(
    model: Model, engine: str, threads: int | None = None, precision: str = "float32"
) -> Network:
    """Load a model, as `load` does, and log what runs it and what its users must know.

    Parameters
    ----------
    model, engine, precision
        As for `load`.
    threads : int, optional
        As many as the process may use if None.
    """
    threads = threads or machine.cpus()
    network = load(model, engine, threads, precision)
    log.info(
        "%s %s on %s in %s, %d threads",
        *(model.name, model.version, network.engine, network.precision, threads),
    )
    if model.notice:
        log.warning("%s: %s", model.name, model.notice)
    return network


def load(model: Model, engine: str, threads: int, precision: str = "float32") -> Network:
    """Read a model's weights and build its network on a backend.

    Parameters
    ----------
    model : Model
        From the registry. A user's own Keras model runs in TensorFlow only.
    engine : {"auto", "openvino", "tensorflow"}
    threads : int
        Processor threads to use.
    precision : {"auto", "float32", "bfloat16", "int8"}
        Precision of the products; see `precision_of` for ``auto``. In bfloat16 a processor with
        AMX takes a third to a fifth of the time, and probabilities differ by some hundredths at
        the edges of a mask. In int8 one with VNNI takes a third; it needs `Model.ranges`.

    Raises
    ------
    ModelError
        The file is not the registered one, or does not fit the network; or the model has no
        ranges for int8, or this machine does not compute in the precision. A precision that is
        asked for by name has no silent fallback.
    """
    path = model.path or registry.find(model.name)
    if engine != "openvino" and gpu_present():
        limit_tensorflow(threads)  # before TensorFlow starts, which `gpu_works` does
        gpu_works()  # before any weight is put on the GPU
    architecture = unet.named(model.architecture).architecture
    if architecture is None:
        if engine == "openvino":
            raise ModelError(
                f"{path}: a Keras model runs in TensorFlow only. Give --engine tensorflow."
            )
        refuse_tensorflow(precision)
        limit_tensorflow(threads)
        stored = weights.load_keras(path, model.block)
        return keras_network(stored, model.divisor, probabilities=weights.ends_in_sigmoid(stored))
    if choose(engine) == "openvino":
        # Its import takes 0.2 s, and what it is for comes after the network. TensorFlow imports
        # parts of SciPy itself, which two threads must not do at once.
        Thread(target=importlib.import_module, args=("scipy.ndimage",)).start()
        arrays = weights.read(path, architecture)
        precision = precision_of(model, "openvino", precision)
        intervals = registry.intervals(model) if precision == "int8" else None
        return openvino_network(architecture, arrays, threads, precision, intervals)
    refuse_tensorflow(precision)
    return tensorflow_network(architecture, weights.read(path, architecture), threads)


def precision_of(model: Model, engine: str, asked: str) -> str:
    """Name the precision that is used; ``auto`` is int8 where model and processor have it.

    `benchmarks/precision.py` compares its masks with those in float32.
    """
    if asked != "auto":
        return asked
    able = engine == "openvino" and model.ranges and machine.multiplies_int8()
    return "int8" if able else "float32"


def refuse_tensorflow(precision: str) -> None:
    """Refuse a precision that TensorFlow is not used in."""
    if precision not in ("auto", "float32"):
        raise ModelError(
            f"--precision {precision}: TensorFlow would run the network, and only OpenVINO "
            "computes in this precision here. Give --engine openvino, or leave --precision out."
        )


def openvino_network(
    architecture: Architecture,
    arrays: Weights,
    threads: int,
    precision: str = "float32",
    intervals: int8.Intervals | None = None,
) -> Network:
    """Build the network in OpenVINO; the precision is the one given, on every processor.

    For int8 it needs the intervals of the activations.
    """
    ov = import_openvino()
    graph = openvino_graph(architecture, arrays, intervals)
    core = ov.Core()
    options = {
        "INFERENCE_NUM_THREADS": threads,
        # By default OpenVINO takes bfloat16 where the processor has it.
        "INFERENCE_PRECISION_HINT": "bf16" if precision == "bfloat16" else "f32",
        "PERFORMANCE_HINT": "LATENCY",
        "ENABLE_CPU_PINNING": False,  # on a shared node the system places the threads
    }
    wanted = {
        "bfloat16": ("avx512_bf16",) * ("BF16" not in core.get_property("CPU", CAPABILITIES)),
        "int8": machine.INT8 if not machine.multiplies_int8() else (),
    }
    if missing := wanted.get(precision):
        raise ModelError(
            f"--precision {precision}: {core.get_property('CPU', 'FULL_DEVICE_NAME')} does not "
            f"compute in {precision}. Leave --precision out, or use a machine whose lscpu lists "
            f"{' or '.join(missing)}."
        )
    compiled: dict[tuple[int, ...], Future[openvino.CompiledModel]] = {}
    background = ThreadPoolExecutor(1)

    def compile_for(shape: tuple[int, ...]) -> openvino.CompiledModel:
        # Not with free axes: OpenVINO then keeps quiet about memory that it does not get.
        graph.reshape([1, 1, *shape])
        return core.compile_model(graph, "CPU", options)

    def prepare(shape: tuple[int, ...]) -> None:
        if shape not in compiled:
            if len(compiled) == MOST_SHAPES:
                compiled.clear()
            compiled[shape] = background.submit(compile_for, shape)

    def model_for(shape: tuple[int, ...]) -> openvino.CompiledModel:
        prepare(shape)
        for other in compiled.keys() - {shape}:  # its memory is free for this one
            if not compiled[other].exception():
                compiled[other].result().release_memory()
        try:
            return compiled[shape].result()
        except RuntimeError:
            del compiled[shape]  # what it lacked may be there the next time
            raise

    def run(block: np.ndarray) -> np.ndarray:
        request = model_for(block.shape).create_infer_request()
        answer = np.empty((1, 1, *block.shape), np.float32)
        request.set_output_tensor(ov.Tensor(answer, shared_memory=True))
        request.infer(block[None, None], share_inputs=True, share_outputs=True)
        return answer[0, 0]

    version = ov.get_version().split("-")[0]
    return Network(run, f"OpenVINO {version}", architecture.divisor, precision, prepare)


def tensorflow_network(architecture: Architecture, arrays: Weights, threads: int) -> Network:
    """Build the network in Keras on TensorFlow, which uses a GPU that it sees."""
    limit_tensorflow(threads)
    return keras_network(weights.into_keras(architecture, arrays), architecture.divisor)


def limit_tensorflow(threads: int) -> None:
    """Limit TensorFlow's threads; without effect once it has started to compute."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    import tensorflow as tf

    try:
        tf.config.threading.set_intra_op_parallelism_threads(threads)
        tf.config.threading.set_inter_op_parallelism_threads(1)
    except RuntimeError:
        log.debug("TensorFlow has started; its number of threads stays as it is")


def keras_network(model: keras.Model, divisor: int, *, probabilities: bool = False) -> Network:
    """Make a `Network` of any Keras model.

    Parameters
    ----------
    model : keras.Model
        From (N, I, J, K, 1) to (N, I, J, K, 1).
    divisor : int
    probabilities : bool
        The model ends in a sigmoid; otherwise it returns logits.

    Raises
    ------
    ModelError
        Keras runs on another backend than TensorFlow, or the shape of the output is not that of
        the input.
    """
    import keras
    import tensorflow as tf

    if keras.backend.backend() != "tensorflow":
        raise ModelError(
            f"Keras runs on {keras.backend.backend()}; expected tensorflow. Unset KERAS_BACKEND."
        )

    signature = [tf.TensorSpec([1, None, None, None, 1], tf.float32)]
    device = None if gpu_works() or not gpu_present() else "CPU:0"  # None: TensorFlow chooses

    @tf.function(input_signature=signature, autograph=False)
    def forward(x: tensorflow.Tensor) -> tensorflow.Tensor:
        found = model(x, training=False)
        return found if probabilities else tf.sigmoid(found)

    def run(block: np.ndarray) -> np.ndarray:
        with tf.device(device):
            found = forward(block[None, ..., None])
        if found.shape != (1, *block.shape, 1):
            raise ModelError(
                f"the model returns shape {tuple(found.shape)} for an input of shape "
                f"{(1, *block.shape, 1)}; expected the same shape"
            )
        return found[0, ..., 0].numpy()

    return Network(run, f"TensorFlow {tf.__version__}", divisor)
