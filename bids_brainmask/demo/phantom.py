# SPDX-License-Identifier: Apache-2.0
"""A whole head whose brain mask is known, modelled around the MNI152 template brain.

The template, which nilearn carries, has no head. One is put around it: each tissue is painted
where a distance from the brain, or an ellipsoid in template millimeters, says that it lies, and
later paint covers earlier. A mild affine, a bias field and Rician noise then make it a scan.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import nibabel as nb
import numpy as np
from nibabel.eulerangles import euler2mat
from scipy import ndimage

BOX = np.array([[-104.0, 104.0], [-140.0, 116.0], [-148.0, 108.0]])
"""Field of view, mm of the template (MNI152): crown to mid-neck, nape to nose."""

FINEST, COARSEST = 0.8, 4.0
"""Spacings, mm: beyond, the arrays outgrow a laptop, or the skull slips between voxels."""

REACH = 20.0
"""Gaps of the brain up to twice this wide, mm, are inside the smooth surface of the skull."""

WHITE = 1000
"""Stored intensity of white matter, before the bias field."""

NOISE = 0.015
"""Standard deviation in each channel of the receiver, of white matter; 1.25 of it in air."""

INTENSITY = {
    "air": (0.0, 0.0),
    "skin": (0.60, 0.85),
    "fat": (1.30, 1.35),
    "muscle": (0.55, 0.65),
    "bone": (0.12, 0.12),
    "marrow": (0.60, 0.65),
    "fluid": (0.20, 0.20),
    "cord": (0.85, 0.85),
    "mucosa": (0.60, 1.20),
    "blood": (0.25, 1.50),
}
"""T1-weighted intensities of tissues outside the brain: plain, and with gadolinium."""


@dataclass(frozen=True)
class Canvas:
    """A grid in template space, and the tissues painted on it so far."""

    x: np.ndarray  # (I, 1, 1) mm, to the right
    y: np.ndarray  # (1, J, 1) mm, to the front
    z: np.ndarray  # (1, 1, K) mm, up
    tissue: np.ndarray  # (I, J, K) uint8, places in INTENSITY
    gap: np.ndarray  # (I, J, K) mm to the brain
    depth: np.ndarray  # (I, J, K) mm to the brain with its gaps closed; negative in it

    def shell(self, center: Sequence[Any], radii: Sequence[float] | np.ndarray) -> np.ndarray:
        """Signed distance in mm, about, from an ellipsoid's surface; negative inside.

        An infinite radius makes it a cylinder. A center may be an array along another axis,
        so that the cylinder bends.
        """
        where = zip((self.x, self.y, self.z), center, radii, strict=True)
        square = sum(((axis - middle) / radius) ** 2 for axis, middle, radius in where)
        return (np.sqrt(square) - 1) * np.float32(min(radii))

    def inside(self, center: Sequence[Any], radii: Sequence[float] | np.ndarray) -> np.ndarray:
        """Bool (I, J, K), an ellipsoid."""
        return self.shell(center, radii) < 0

    def pair(self, center: Sequence[Any], radii: Sequence[float] | np.ndarray) -> np.ndarray:
        """Bool (I, J, K), two ellipsoids that mirror each other, left and right."""
        left = (-center[0], *center[1:])
        return self.inside(center, radii) | self.inside(left, radii)

    def paint(self, where: np.ndarray, tissue: str) -> None:
        """Set the tissue of the voxels where a mask is True."""
        self.tissue[np.broadcast_to(where, self.tissue.shape)] = list(INTENSITY).index(tissue)


def head(
    seed: int = 0, *, spacing: float = 1.0, contrast: bool = False
) -> tuple[nb.Nifti1Image, nb.Nifti1Image]:
    """Make a T1-weighted image of a head, and its brain mask.

    Parameters
    ----------
    seed : int
        Not negative. Decides the noise, the bias field, and the affine by which the head differs
        from the template (sizes within 6 %, turns within 4 degrees, shifts within 3 mm).
    spacing : float
        Edge of the cubic voxels, mm, in [0.8, 4].
    contrast : bool
        As with gadolinium: blood and mucosa are bright, skin, fat, muscle and marrow a little
        brighter; the brain is as without.

    Returns
    -------
    image : Nifti1Image of int16, (208, 256, 256) at 1 mm
        RAS+, in scanner coordinates, mm. White matter is about 1000, air about 20.
    mask : Nifti1Image of uint8
        On the same grid: 1 in the brain, its ventricles and the fluid of its sulci, else 0.

    Raises
    ------
    ValueError
        The seed is negative, or the spacing is out of range.
    """
    if seed < 0:
        raise ValueError(f"the seed is {seed}; it must not be negative")
    if not FINEST <= spacing <= COARSEST:
        raise ValueError(f"the spacing is {spacing} mm; it must be in [{FINEST}, {COARSEST}]")
    random = np.random.default_rng(seed)
    plain, enhanced, brain = _anatomy(float(spacing))
    affine = _grid(spacing)
    matrix = np.linalg.inv(affine) @ np.linalg.inv(_shape(random)) @ affine

    def move(data: np.ndarray) -> np.ndarray:
        # Beyond the edge of the data the neck goes on, and so does the air.
        return ndimage.affine_transform(data, matrix, order=1, mode="nearest")

    signal = move(enhanced if contrast else plain)
    signal *= _bias(random, signal.shape)
    counts = _rician(random, signal) * WHITE
    mask = move(brain) > 0.5
    return _nifti(counts.round().astype(np.int16), affine), _nifti(mask.astype(np.uint8), affine)


@lru_cache(maxsize=1)  # heads of a dataset differ by seed only, and this is most of the work
def _anatomy(spacing: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Head in template space without noise: plain, with gadolinium, and its brain, 0 or 1."""
    brain, mask = _template(spacing)
    canvas = _canvas(spacing, mask)
    # The order is that of cover: airways are cut into bone, and fluid laid over all of it.
    for tissues in (_flesh, _skull, _face, _eyes, _neck, _fluid, _vessels):
        tissues(canvas)
    texture = _texture(mask.shape, spacing)
    plain, enhanced = (
        # Blurred, as a voxel at an edge holds two tissues.
        ndimage.gaussian_filter(np.where(mask, brain, of[canvas.tissue] * texture), 0.5 / spacing)
        for of in np.array(list(INTENSITY.values()), np.float32).T
    )
    return plain, enhanced, mask.astype(np.float32)


def _grid(spacing: float) -> np.ndarray:
    """Affine whose first voxel's outer corner is the lowest corner of the box."""
    affine = np.diag([spacing, spacing, spacing, 1.0])
    affine[:3, 3] = BOX[:, 0] + spacing / 2
    return affine


def _template(spacing: float) -> tuple[np.ndarray, np.ndarray]:
    """T1w intensities of the brain, white matter 1, and the mask, over the box."""
    from nilearn.datasets import load_mni152_template  # seconds, and only needed here

    template = load_mni152_template(resolution=1)
    data = template.get_fdata(dtype=np.float32)
    solid = ndimage.binary_fill_holes(data > 0).astype(np.float32)
    # An average of many brains is flat; these are its fluid, gray and white, and a single head's.
    data = np.interp(data, [0.25, 0.65, 0.87, 1.0], [0.15, 0.65, 1.0, 1.08]).astype(np.float32)
    matrix = np.linalg.inv(template.affine) @ _grid(spacing)
    shape = tuple(np.ceil(np.ptp(BOX, axis=1) / spacing).astype(int))
    brain, mask = (
        ndimage.affine_transform(volume, matrix, output_shape=shape, order=1)
        for volume in (data, solid)
    )
    return brain, mask > 0.5


def _canvas(spacing: float, mask: np.ndarray) -> Canvas:
    affine = _grid(spacing)
    indices = np.ogrid[tuple(map(slice, mask.shape))]
    x, y, z = (
        (spacing * index + start).astype(np.float32)
        for index, start in zip(indices, affine[:3, 3], strict=True)
    )
    margin = int(np.ceil(REACH / spacing)) + 1
    (box,) = ndimage.find_objects(mask.view(np.uint8))
    near = tuple(slice(max(side.start - margin, 0), side.stop + margin) for side in box)
    gap, depth = np.full((2, *mask.shape), 2 * REACH, np.float32)
    gap[near] = ndimage.distance_transform_edt(~mask[near], spacing)
    # A closing, kept as a distance: grow the brain by REACH, and measure back from that surface.
    back = ndimage.distance_transform_edt(gap[near] < REACH, spacing)
    depth[near] = np.where(back > 0, REACH - back, gap[near])
    return Canvas(x, y, z, np.zeros(mask.shape, np.uint8), gap, depth)


def _flesh(canvas: Canvas) -> None:
    """Skin, the fat under it, and muscle all through, of one smooth surface."""
    parts = (
        canvas.depth - 16,
        canvas.shell((0, 42, -62), (58, 48, 62)),  # face
        canvas.shell((0, 10, -66), (66, 62, 42)),  # cheeks
        canvas.shell((0, 62, -108), (36, 26, 20)),  # chin
        canvas.shell((0, 94, -58), (12, 12, 13)),  # nose
        canvas.shell((0, 88, -38), (8, 10, 24)),  # its bridge
        canvas.shell((82, -26, -40), (8, 14, 24)),  # ears
        canvas.shell((-82, -26, -40), (8, 14, 24)),
        canvas.shell((0, -30, 0), (60, 62, np.inf)) + 0.5 * np.maximum(canvas.z + 80, 0),  # neck
    )
    blend = 4.0  # mm, as wide as the folds between the parts are rounded
    surface = -blend * np.log(sum(np.exp(np.clip(part / -blend, -30, 30)) for part in parts))
    canvas.paint(surface < 0, "skin")
    canvas.paint(surface < -1.5, "fat")
    canvas.paint(surface < -5.0 - 2.0 * (canvas.z < -60), "muscle")


def _face(canvas: Canvas) -> None:
    """Jaws around the tongue, and the airways, lined with mucosa."""
    for level in (-76, -100):  # upper, lower
        for inset, tissue in ((0, "bone"), (3, "marrow")):
            arch = canvas.inside((0, 30, level), (38 - inset, 46 - inset, 11 - inset))
            arch &= ~canvas.inside((0, 30, 0), (24 + inset, 32 + inset, np.inf))
            canvas.paint(arch & (canvas.y > 10 + inset), tissue)
    for inset, tissue in ((0, "mucosa"), (2, "air")):
        for center, radii in (
            ((28, 48, -62), (14, 17, 15)),  # maxillary sinuses
            ((7, 56, -52), (6, 28, 16)),  # nose, and the septum between
            ((7, 14, -34), (8, 12, 9)),  # sphenoid sinus
        ):
            canvas.paint(canvas.pair(center, np.subtract(radii, inset)), tissue)
        pharynx = canvas.inside((0, 10, 0), (13 - inset, 9 - inset, np.inf)) & (canvas.z < -48)
        canvas.paint(pharynx, tissue)


def _neck(canvas: Canvas) -> None:
    """Vertebrae, their discs, and the spinal cord in its fluid, below the brain stem."""
    below = canvas.z < -72  # where the template ends
    canal = -46 + 0.1 * (canvas.z + 72)  # y, mm; the cord runs on as the stem does
    body = below & canvas.inside((0, canal + 21, 0), (14, 11, np.inf))
    spine = below & canvas.inside((0, canal - 15, 0), (5, 15, np.inf))
    arch = below & canvas.inside((0, canal, 0), (18, 14, np.inf))
    disc = (canvas.z % 18) < 5
    canvas.paint(body | arch | (spine & ~disc), "bone")
    canvas.paint(canvas.inside((0, canal + 21, 0), (12, 9, np.inf)) & below & ~disc, "marrow")
    canvas.paint(canvas.inside((0, canal - 17, 0), (3, 11, np.inf)) & below & ~disc, "marrow")
    canvas.paint(canvas.inside((0, canal, 0), (12, 9, np.inf)) & below, "fluid")
    canvas.paint(canvas.inside((0, canal, 0), (7, 5.5, np.inf)) & below, "cord")


def _skull(canvas: Canvas) -> None:
    """Two tables of dark bone with marrow between, and the base, which fills the brain's gaps."""
    above = canvas.z > -76
    squama = (np.abs(canvas.x) > 58) & (canvas.z < 15)  # thin at the temples: no marrow
    canvas.paint((canvas.depth < 9.5) & above, "bone")
    canvas.paint((canvas.depth < 7) & (canvas.depth > 4.8) & ~squama & above, "marrow")
    canvas.paint((canvas.depth < 3) & (canvas.gap > 8) & above, "marrow")


def _eyes(canvas: Canvas) -> None:
    """Globes in the fat of the orbits, which the thin roof parts from the brain."""
    clear = canvas.gap > 6
    canvas.paint(canvas.pair((30, 48, -40), (21, 25, 19)) & clear, "bone")
    canvas.paint(canvas.pair((30, 50, -40), (18, 25, 16)) & clear, "fat")
    canvas.paint(canvas.pair((27, 40, -40), (2.5, 15, 2.5)), "muscle")  # the optic nerve
    canvas.paint(canvas.pair((32, 61, -40), (13, 13, 13)), "muscle")  # sclera and lids
    canvas.paint(canvas.pair((32, 61, -40), (12, 12, 12)), "fluid")
    canvas.paint(canvas.pair((32, 70, -40), (4.5, 2.2, 4.5)), "muscle")  # lens


def _fluid(canvas: Canvas) -> None:
    """Cerebrospinal fluid around the brain, deeper where the brain recedes from the skull."""
    canvas.paint((canvas.gap < 6) & (canvas.depth < 2.5) & (canvas.z > -73), "fluid")


def _vessels(canvas: Canvas) -> None:
    """Large veins between brain and skull, and those and the carotids in the neck."""
    outside = (canvas.gap > 0) & (canvas.depth < 4)
    sagittal = (np.abs(canvas.x) < 4.5) & ((canvas.z > 10) | (canvas.y < -60)) & (canvas.z > -25)
    transverse = (np.abs(canvas.z + 30) < 4) & (canvas.y < -50)
    canvas.paint(outside & (canvas.depth > -2) & (sagittal | transverse), "blood")
    below = canvas.z < -78
    canvas.paint(canvas.pair((27, -8, 0), (3.5, 3.5, np.inf)) & below, "blood")
    canvas.paint(canvas.pair((35, -18, 0), (6, 5, np.inf)) & below, "blood")


def _texture(shape: tuple[int, ...], spacing: float) -> np.ndarray:
    """Factors about 1 (standard deviation some 6 %) that vary over some 4 mm, float32."""
    coarse = np.ceil(np.array(shape) * min(spacing / 4, 1)).astype(int)
    noise = np.random.default_rng(0).standard_normal(coarse, dtype=np.float32)
    return 1 + 0.1 * ndimage.zoom(noise, np.array(shape) / coarse, order=1)


def _shape(random: np.random.Generator) -> np.ndarray:
    """(4, 4) from the template to one head, mm: sizes, then turns, then shifts."""
    sizes = np.diag(random.uniform(0.94, 1.06, 3))
    turns = np.radians(random.uniform(-4, 4, 3))
    affine = np.eye(4)
    affine[:3, :3] = euler2mat(*turns) @ sizes
    affine[:3, 3] = random.uniform(-3, 3, 3)
    return affine


def _bias(random: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Sensitivity of the receiver: a smooth factor about 1, float32."""
    x, y, z = np.meshgrid(
        *(np.linspace(-1, 1, n, dtype=np.float32) for n in shape), indexing="ij", sparse=True
    )
    a, b, c, d, e, f = random.uniform(-0.12, 0.12, 6).astype(np.float32)
    return np.exp(a * x + b * y + c * z + d * x * y + e * y * z + f * (x**2 + y**2 + z**2 - 1))


def _rician(random: np.random.Generator, signal: np.ndarray) -> np.ndarray:
    """Magnitude of the signal with Gaussian noise in both channels."""
    real, imaginary = (random.standard_normal(signal.shape, np.float32) for _ in range(2))
    return np.hypot(signal + NOISE * real, NOISE * imaginary)


def _nifti(data: np.ndarray, affine: np.ndarray) -> nb.Nifti1Image:
    image = nb.Nifti1Image(data, affine)
    image.set_qform(affine, "scanner")
    image.set_sform(affine, "scanner")
    image.header.set_xyzt_units("mm")
    return image
