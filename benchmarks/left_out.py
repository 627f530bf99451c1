# SPDX-License-Identifier: Apache-2.0
"""Write the configuration of a training that leaves three sources of heads out.

python benchmarks/left_out.py CONFIG.yaml --start embedded-0.3.0.npz

It is the recipe `brain` with one stage of 16 epochs in place of its twelve, which starts from the
network 0.3.0. That one had learnt from IXI, adi and forrest alone, and is in the history:

git show 09167bb~1:bids_brainmask/data/weights/embedded.npz > embedded-0.3.0.npz
KERAS_BACKEND=torch brainmask train CONFIG.yaml --bids-dir HEADS --label-maps MAPS --out OUT

OUT/weights.npz, under the name left-out.npz, is for benchmarks/unseen.py.
"""

import argparse
from pathlib import Path

import yaml

from bids_brainmask.train import config

LEFT_OUT = ("ldh01", "ldh02", "ldh03", "ldh04", "ldh08", "rigs", "mycon")
"""Training heads of the sources: OpenfMRI ds000011, a Siemens Prisma, MyConnectome."""

STAGE = {
    "epochs": 16,
    "rate": [5.0e-4, 0.0],
    "steps": 60,
    "neck": 0.08,
    "synthetic": 0.5,
    "variants": {"mild": 0.5, "turned": 0.42, "inverted": 0.08},
}
"""Both kinds of heads, as in the last four stages of the recipe."""


def configuration(start: Path) -> dict:
    """Change the recipe; every range stays."""
    recipe = yaml.safe_load(config.text_of("brain"))
    data = recipe["data"] | {"exclude": list(LEFT_OUT)}
    data["often"] = {name: n for name, n in data["often"].items() if name not in LEFT_OUT}
    variants = {name: recipe["variants"][name] for name in STAGE["variants"]}
    changes = {"name": "left-out", "start": str(start.absolute()), "allow_unverified": True}
    del recipe["card"]
    return recipe | changes | {"data": data, "variants": variants, "stages": [STAGE]}


def main(argv: list[str] | None = None) -> None:
    """Write the file."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("config", type=Path)
    parser.add_argument("--start", type=Path, required=True, help="weights of the network 0.3.0")
    args = parser.parse_args(argv)
    text = yaml.safe_dump(configuration(args.start), sort_keys=False)
    args.config.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
