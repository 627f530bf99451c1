// SPDX-License-Identifier: Apache-2.0
/* Agreement of raters: Cohen's and Fleiss' kappa, and images that are rated differently.

The same as `reports/ratings.py`; a test compares both. Stale ratings do not count. */

const CONFLICTS = 200; // at most are listed

const aboveChance = (observed, expected) =>
  expected >= 1 ? null : (observed - expected) / (1 - expected);

/** Cohen's kappa of pairs of verdicts; null if chance explains all agreement. */
function cohen(pairs) {
  if (!pairs.length) return null;
  const words = Object.keys(CODES);
  const share = (side, word) => pairs.filter((pair) => pair[side] === word).length / pairs.length;
  const observed = pairs.filter(([a, b]) => a === b).length / pairs.length;
  return aboveChance(observed, words.reduce((sum, w) => sum + share(0, w) * share(1, w), 0));
}

/** Fleiss' kappa of lists of verdicts, of as many raters each; null likewise. */
function fleiss(table) {
  if (!table.length) return null;
  const [raters, words] = [table[0].length, Object.keys(CODES)];
  const counts = table.map((row) => words.map((w) => row.filter((said) => said === w).length));
  const pairs = counts.flat().reduce((sum, n) => sum + n * (n - 1), 0);
  const shares = words.map((_, i) => {
    return counts.reduce((sum, count) => sum + count[i], 0) / (table.length * raters);
  });
  const expected = shares.reduce((sum, share) => sum + share * share, 0);
  return aboveChance(pairs / (table.length * raters * (raters - 1)), expected);
}

/** Current verdicts of every rater with one, by the names of images. */
function verdicts() {
  const found = new Map();
  for (const [rater, some] of [[me || "you", ratings], ...[...others].sort()]) {
    const current = [...some].filter(([name, one]) => one.rating && !isStale(known.get(name), one));
    if (current.length) found.set(rater, new Map(current.map(([name, r]) => [name, r.rating])));
  }
  return found;
}

/** What raters say together: kappas of pairs, of all, and conflicts. */
function agreement() {
  const all = verdicts();
  const raters = [...all.keys()];
  const pairs = raters.flatMap((first, index) =>
    raters.slice(index + 1).map((second) => {
      const both = [...all.get(first)].filter(([name]) => all.get(second).has(name));
      const said = both.map(([name, verdict]) => [verdict, all.get(second).get(name)]);
      return { raters: [first, second], images: said.length, kappa: cohen(said) };
    }),
  );
  const several = raters.length > 1 ? [...all.get(raters[0]).keys()] : [];
  const common = several.filter((name) => raters.every((rater) => all.get(rater).has(name)));
  const rows = common.map((name) => raters.map((rater) => all.get(rater).get(name)));
  const said = new Map();
  for (const [rater, some] of all) {
    for (const [name, verdict] of some) said.set(name, [...(said.get(name) ?? []), [rater, verdict]]);
  }
  const differ = ([, list]) => new Set(list.map(([, verdict]) => verdict)).size > 1;
  const conflicts = [...said].filter(differ);
  return { raters, counts: raters.map((r) => all.get(r).size), pairs, fleiss: fleiss(rows), common, conflicts };
}

const kappa = (number) => (number === null ? "not defined" : number.toFixed(2));

/** Show the agreement, where there are several raters. */
function compare() {
  $("raters").hidden = !others.size;
  if (!others.size) return;
  const { raters, counts, pairs, fleiss: all, common, conflicts } = agreement();
  const line = (text) => make("li", { textContent: text });
  const lines = [
    line(raters.map((rater, index) => `${shorten(rater)}: ${counts[index]} ratings`).join("; ")),
    ...pairs.map(({ raters: [a, b], images: n, kappa: k }) => {
      return line(`${shorten(a)} and ${shorten(b)}: Cohen's kappa ${kappa(k)}, ${n} images`);
    }),
  ];
  if (raters.length > 2) lines.push(line(`All: Fleiss' kappa ${kappa(all)}, ${common.length} images`));
  $("kappas").replaceChildren(...lines);
  $("conflicts-title").textContent = `Rated differently: ${conflicts.length} images`;
  $("conflicts").replaceChildren(
    ...conflicts.slice(0, CONFLICTS).map(([name, list]) => {
      const button = make("button", { type: "button", textContent: shorten(name) });
      button.addEventListener("click", () => select(known.get(name)));
      const words = list.map(([rater, verdict]) => `${shorten(rater)} ${verdict}`).join(", ");
      return make("li", {}, button, ` ${words}`);
    }),
  );
}

let comparing = 0;

function compareLater() {
  clearTimeout(comparing);
  comparing = setTimeout(compare, 150);
}
