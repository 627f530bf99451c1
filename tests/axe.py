# SPDX-License-Identifier: Apache-2.0
"""axe-core, which looks for what keeps people from using a page: contrast, names, roles, keys."""

from conftest import missing

try:
    from axe_core_python.selenium import Axe
except ImportError:
    Axe = None

LARGE_AREAS = {"exclude": [[".tabulator"]]}
"""Parts that libraries draw; the same values are in the tables, and in the labels of the plots."""


def violations(browser, context=LARGE_AREAS) -> list[str]:
    """What axe-core finds on the page that is open: the rule, and where."""
    if Axe is None:
        missing("axe-core-python is not installed")
    found = Axe().run(browser.driver, context)["violations"]
    return [
        f"{one['id']}: {node['html'][:160]}: {node['failureSummary'][:200]}"
        for one in found
        for node in one["nodes"][:5]
    ]
