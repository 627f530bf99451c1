# SPDX-License-Identifier: Apache-2.0
"""Match lesions as panoptica does; run in an environment that has it.

Arguments: an ``.npz`` file of masks ``found_N`` and ``wanted_N``, and thresholds of the
intersection over union. It prints a JSON list: for each threshold, for each case, the numbers of
true positives, false positives and false negatives, and the Dice of the matched pairs, sorted.
"""

import json
import sys

import numpy as np
from panoptica import (
    ConnectedComponentsInstanceApproximator,
    InputType,
    Metric,
    NaiveThresholdMatching,
    Panoptica_Evaluator,
    disable_citation_reminder,
)


def one(found, wanted, threshold):
    """Match one case."""
    evaluator = Panoptica_Evaluator(
        expected_input=InputType.SEMANTIC,
        instance_approximator=ConnectedComponentsInstanceApproximator(),
        instance_matcher=NaiveThresholdMatching(matching_threshold=threshold),
        instance_metrics=[Metric.DSC, Metric.IOU],
    )
    result = evaluator.evaluate(found, wanted)["ungrouped"]
    dices = sorted(map(float, result.get_list_metric(Metric.DSC, mode="ALL")))
    return [int(result.tp), int(result.fp), int(result.fn), dices]


def main(path, *thresholds):
    """Print the results of all cases."""
    disable_citation_reminder()
    masks = np.load(path)
    numbers = range(len(masks.files) // 2)
    found = [
        [one(masks[f"found_{n}"], masks[f"wanted_{n}"], float(threshold)) for n in numbers]
        for threshold in thresholds
    ]
    sys.stdout.write(json.dumps(found) + "\n")


main(*sys.argv[1:])
