"""An audit of scene graphs from folders to a report: shares by part and kind, by name and predicate, and pictures."""

from __future__ import annotations

import heapq
import json
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from ..errors import ConfigError, GraphError
from ..files import write_whole
from ..provenance import STATUSES
from ..reporting.bootstrap import FEW_VIDEOS, Bootstrap, Estimate
from ..reporting.tables import Column, markdown_table, text_table, write_csv
from ..scenegraph.compare import WAYS, Agreement, Matching, total
from ..scenegraph.graph import EDGE_KINDS, NODE_KINDS
from ..scenegraph.moment import DEFAULT_TOLERANCE_S
from ..scenegraph.table import GraphTable, load_graphs
from .graph_picture import draw_graph
from .graphs import (
    ATTRIBUTES,
    MISSING,
    NODES,
    PARTS,
    TIMED,
    TRIPLES,
    JudgedGraph,
    PartScores,
    judge_graphs,
    score_overlaps,
    score_part,
)
from .report import CSV_FILE, JSON_FILE, MARKDOWN_FILE

GRAPHS_FILE, PICTURES_FOLDER = "graphs.csv", "pictures"

READING = """Nodes are matched first: {matched}. *Precision* is the share of what the graphs have that the reference
has too, *recall* the share of what the reference has that the graphs have. An attribute counts where its
node is matched and type and value are alike; a statement where both nodes are matched and the predicate
is alike, once whenever it holds, from whichever end it is said; a *timed* statement each time that it
holds, where both intervals overlap by at least {min_overlap:g} (intersection over union). A graph that
is missing or could not be made has found nothing. Brackets: {confidence:g} % interval from {resamples}
bootstrap resamples of whole videos (seed {seed})."""

MATCHED = {
    "id": "those of one kind and name with one id",
    "place": """those of one kind and name whose tracks (shared over joint area, summed over the frames that both
graphs look at) or intervals overlap by at least {min_overlap:g}; nodes that say nothing of where they are by their
name and what is said of them""",
}
_MOST_NAMES = 30  # rows of the tables by name; the CSV has all
_MOST_DIFFERENCES = 12  # of each graph that is shown


@dataclass(frozen=True)
class GraphAuditSettings:
    """What an audit of scene graphs reads and writes.

    Raises:
        ConfigError: A number is out of its range.
    """

    graphs: str = field(metadata={"help": "Folder or Hub id of the scene graphs that are judged."})
    reference: str = field(metadata={"help": "Folder or Hub id of those that they are judged by."})
    out: str = field(metadata={"help": "Folder of the report; it is made where it does not exist."})
    splits: list[str] = field(
        default_factory=list, metadata={"help": "Splits of the reference to judge by; all that both have by default."}
    )
    match: str = field(default="place", metadata={"help": "How nodes are matched.", "choices": list(WAYS)})
    min_overlap: float = field(default=0.5, metadata={"help": "Least overlap of tracks and of intervals."})
    tolerance_s: float = field(
        default=DEFAULT_TOLERANCE_S, metadata={"help": "Seconds that two frames may be apart and still be the same."}
    )
    resamples: int = field(default=1000, metadata={"help": "Number of bootstrap resamples of whole videos."})
    seed: int = field(default=0, metadata={"help": "Seed of the bootstrap."})
    num_examples: int = field(
        default=4, metadata={"help": "Graphs with the most differences that are drawn and told; 0 for none."}
    )

    def __post_init__(self):
        if self.num_examples < 0:
            raise ConfigError(f"--num_examples is {self.num_examples}, expected 0 or more")


@dataclass(frozen=True)
class GraphAudit:
    """What an audit found.

    Args:
        scores: Scores of each part, as a whole and by kind.
        overlap: Mean overlap of times of shared statements.
        names: Kind and name of nodes -> agreement.
        predicates: Kind and predicate of edges -> agreement.
        statuses: Split of the reference -> status of the judged graph, or `MISSING` -> number of graphs.
        unjudged: Status -> number of graphs of the reference that could not be made.
        videos: Number of videos that are judged.
        worst: Graphs with the most differences.
    """

    scores: list[PartScores]
    overlap: Estimate
    names: Mapping[tuple[str, str], Agreement]
    predicates: Mapping[tuple[str, str], Agreement]
    statuses: Mapping[str, Counter[str]]
    unjudged: Counter[str]
    videos: int
    worst: list[JudgedGraph]

    def score(self, part: str, kind: str = "") -> PartScores:
        """The scores of a part and kind."""
        return next(one for one in self.scores if (one.part, one.kind) == (part, kind))


def audit_graphs(settings: GraphAuditSettings) -> list[Path]:
    """Audit scene graphs and write the report, and return the files.

    Raises:
        VidreasonError: What is asked for is not there or does not fit.
    """
    matching = Matching(settings.match, settings.min_overlap, settings.tolerance_s)
    bootstrap = Bootstrap(resamples=settings.resamples, seed=settings.seed)
    tables, references = _chosen_splits(settings)
    unjudged: Counter[str] = Counter()
    judged = list(judge_graphs(tables, references, matching, unjudged))
    audit = summarize(judged, unjudged, bootstrap, settings.num_examples)
    out = Path(settings.out)
    out.mkdir(parents=True, exist_ok=True)
    pictures = _draw(out, audit.worst, tables, references)
    written = [
        _write_json(out, audit, settings, bootstrap),
        _write_scores(out, audit),
        _write_graphs(out, judged),
        _write_markdown(out, audit, settings, bootstrap, pictures),
    ]
    return [*written, *pictures.values()]


def _chosen_splits(settings: GraphAuditSettings) -> tuple[list[GraphTable], dict[str, GraphTable]]:
    """Tables that are judged, and those of the reference by split."""
    graphs, reference = load_graphs(settings.graphs), load_graphs(settings.reference)
    for split in settings.splits:
        if split not in reference:
            raise GraphError(f"{settings.reference} has no split {split!r}; there are {list(reference.splits)}")
    # graphs that were made of one split must not be judged by what others hold; of other names all may meet
    shared = [split for split in reference if split in graphs]
    wanted = settings.splits or shared or list(reference)
    return list(graphs.values()), {split: reference[split] for split in wanted}


def summarize(
    judged: Sequence[JudgedGraph], unjudged: Counter[str], bootstrap: Bootstrap, num_worst: int = 0
) -> GraphAudit:
    """The scores of judged graphs.

    Args:
        judged: Graphs as from `judge_graphs`.
        unjudged: Status -> number of graphs of the reference that could not be made.
        bootstrap: How intervals are found.
        num_worst: Number of graphs that are kept for their differences.
    """
    names: dict[tuple[str, str], Agreement] = defaultdict(Agreement)
    predicates: dict[tuple[str, str], Agreement] = defaultdict(Agreement)
    statuses: dict[str, Counter[str]] = defaultdict(Counter)
    for graph in judged:
        statuses[graph.split][graph.status] += 1
        for sums, found in ((names, graph.comparison.names), (predicates, graph.comparison.predicates)):
            for key, agreement in found.items():
                sums[key] += agreement
    kinds: dict[str, Iterable[str]] = {NODES: NODE_KINDS, ATTRIBUTES: (), TRIPLES: EDGE_KINDS, TIMED: EDGE_KINDS}
    scores = [score_part(part, kind, judged, bootstrap) for part in PARTS for kind in ("", *kinds[part])]
    return GraphAudit(
        scores=[one for one in scores if not one.kind or one.counts != Agreement()],
        overlap=score_overlaps(judged, bootstrap),
        names=names,
        predicates=predicates,
        statuses=statuses,
        unjudged=unjudged,
        videos=len({graph.comparison.video_id for graph in judged}),
        worst=[one for one in heapq.nlargest(num_worst, judged, key=_differences) if _differences(one)],
    )


def _differences(graph: JudgedGraph) -> int:
    return len(graph.comparison.missing) + len(graph.comparison.extra)


# Files


def _write_json(out: Path, audit: GraphAudit, settings: GraphAuditSettings, bootstrap: Bootstrap) -> Path:
    facts = {
        "graphs": Path(settings.graphs).name,
        "reference": Path(settings.reference).name,
        **{name: getattr(settings, name) for name in ("match", "min_overlap", "tolerance_s")},
        "bootstrap": asdict(bootstrap),
        "videos": audit.videos,
        "statuses": {split: dict(sorted(counts.items())) for split, counts in audit.statuses.items()},
        "unjudged": dict(sorted(audit.unjudged.items())),
        "scores": [asdict(one) for one in audit.scores],
        "time_overlap": asdict(audit.overlap),
        "names": [[*key, *asdict(one).values()] for key, one in sorted(audit.names.items())],
        "predicates": [[*key, *asdict(one).values()] for key, one in sorted(audit.predicates.items())],
    }
    write_whole(out / JSON_FILE, json.dumps(facts, indent=1, ensure_ascii=False, allow_nan=False) + "\n")
    return out / JSON_FILE


def _write_scores(out: Path, audit: GraphAudit) -> Path:
    rows = []
    for one in audit.scores:
        key = {"part": one.part, "kind": one.kind or "all", "name": "all"}
        for measure, estimate in (("precision", one.precision), ("recall", one.recall)):
            rows.append({**key, "measure": measure, **_bounds(estimate), **asdict(one.counts)})
    rows.append(
        {
            **dict.fromkeys(("kind", "name"), "all"),
            "part": TRIPLES,
            "measure": "time_overlap",
            **_bounds(audit.overlap),
        }
    )
    for part, agreements in ((NODES, audit.names), (TRIPLES, audit.predicates)):
        for (kind, name), agreement in sorted(agreements.items()):
            for measure in ("precision", "recall"):
                value = getattr(agreement, measure)
                row = {"part": part, "kind": kind, "name": name, "measure": measure, **_bounds(Estimate(value))}
                rows.append({**row, **asdict(agreement)})
    columns: list[Column | str] = ["part", "kind", "name", "measure"]
    columns += [Column(bound, decimals=6) for bound in ("value", "low", "high")]
    return write_csv(out / CSV_FILE, rows, [*columns, *(Column(name) for name in ("shared", "found", "expected"))])


def _bounds(estimate: Estimate) -> dict[str, Any]:
    return {bound: "n/a" if value is None else value for bound, value in asdict(estimate).items()}


def _write_graphs(out: Path, judged: Sequence[JudgedGraph]) -> Path:
    rows = []
    for graph in judged:
        row = {"split": graph.split, "video_id": graph.comparison.video_id, "graph_id": graph.graph_id}
        row["status"] = graph.status
        for part in PARTS:
            counts = asdict(graph.agreement(part))
            row |= {f"{part}, {name}".replace(" ", "_").replace(",", ""): str(n) for name, n in counts.items()}
        rows.append(row)
    return write_csv(out / GRAPHS_FILE, rows, list(rows[0]))


def _write_markdown(
    out: Path,
    audit: GraphAudit,
    settings: GraphAuditSettings,
    bootstrap: Bootstrap,
    pictures: Mapping[tuple[int, str], Path],
) -> Path:
    graphs, reference = Path(settings.graphs).resolve().name, Path(settings.reference).resolve().name
    few = f" Fewer than {FEW_VIDEOS} videos: the intervals are too narrow." if audit.videos < FEW_VIDEOS else ""
    statuses = [status for status in (*STATUSES, MISSING) if any(one[status] for one in audit.statuses.values())]
    rows = [(split, one.total(), *(one[status] for status in statuses)) for split, one in audit.statuses.items()]
    parts = [
        f"# Audit of the scene graphs {graphs} against {reference}",
        f"{sum(one.total() for one in audit.statuses.values())} graphs of {audit.videos} videos are judged; "
        f"{audit.unjudged.total()} graphs of the reference could not be made themselves and are not.{few}",
        "What the graphs are for those of the reference, by status:",
        text_table(["split", "graphs", *statuses], rows, [False, *[True] * (1 + len(statuses))]),
        markdown_table(*_score_table(audit)),
        f"Statements that both have with times share {_percent(audit.overlap)} % of the time in which either says "
        "that they hold, as a mean over statements."
        if audit.overlap.value is not None
        else "No statement that both have says when it holds.",
        "## By predicate",
        *_agreement_table("predicate", audit.predicates),
        "## By name of nodes",
        *_agreement_table("name", audit.names),
        *_examples(audit.worst, pictures),
        "## Reading",
        _reading(settings, bootstrap),
    ]
    write_whole(out / MARKDOWN_FILE, "\n\n".join(part.strip() for part in parts) + "\n")
    return out / MARKDOWN_FILE


def _score_table(audit: GraphAudit) -> tuple[list[dict[str, Any]], list[Column | str]]:
    rows = [
        {
            "part": one.part,
            "kind": one.kind or "all",
            **asdict(one.counts),
            "precision": _percent(one.precision),
            "recall": _percent(one.recall),
        }
        for one in audit.scores
    ]
    shares = [Column("precision", "precision (%)", right=True), Column("recall", "recall (%)", right=True)]
    return rows, ["part", "kind", "shared", "found", "expected", *shares]


def _agreement_table(head: str, agreements: Mapping[tuple[str, str], Agreement]) -> list[str]:
    ordered = sorted(agreements.items(), key=lambda entry: (-entry[1].expected, -entry[1].found, entry[0]))
    if not ordered:
        return ["There are none."]
    rows = [
        {
            "kind": kind,
            head: name,
            **asdict(one),
            "precision": "n/a" if one.precision is None else f"{100 * one.precision:.1f}",
            "recall": "n/a" if one.recall is None else f"{100 * one.recall:.1f}",
        }
        for (kind, name), one in ordered[:_MOST_NAMES]
    ]
    shares = [Column("precision", "precision (%)", right=True), Column("recall", "recall (%)", right=True)]
    table = markdown_table(rows, ["kind", head, "shared", "found", "expected", *shares])
    left = ordered[_MOST_NAMES:]
    if not left:
        return [table]
    whole = total(one for _, one in left)
    rest = f"{len(left)} others, with {whole.shared} shared, {whole.found} found and {whole.expected} expected, are in"
    return [table, f"{rest} {CSV_FILE}."]


def _examples(worst: Sequence[JudgedGraph], pictures: Mapping[tuple[int, str], Path]) -> list[str]:
    if not worst:
        return []
    parts = ["## Graphs with the most differences"]
    for number, graph in enumerate(worst):
        parts.append(f"### {graph.graph_id} ({graph.status})")
        for side, role in (("graph", "as it is"), ("reference", "as the reference has it")):
            path = pictures.get((number, side))
            if path is not None:
                parts.append(f"![{graph.graph_id} {role}]({PICTURES_FOLDER}/{path.name})")
        for head, lines in (("Missing", graph.comparison.missing), ("Too much", graph.comparison.extra)):
            if lines:
                rest = len(lines) - _MOST_DIFFERENCES
                more = f"; and {rest} more" if rest > 0 else ""
                parts.append(f"{head}: {'; '.join(lines[:_MOST_DIFFERENCES])}{more}.")
    return parts


def _reading(settings: GraphAuditSettings, bootstrap: Bootstrap) -> str:
    matched = MATCHED[settings.match].format(min_overlap=settings.min_overlap)
    text = READING.format(
        matched=matched,
        min_overlap=settings.min_overlap,
        confidence=100 * bootstrap.confidence,
        resamples=bootstrap.resamples,
        seed=bootstrap.seed,
    )
    return " ".join(text.split())


def _percent(estimate: Estimate) -> str:
    if estimate.value is None:
        return "n/a"
    text = f"{100 * estimate.value:.1f}"
    if estimate.low is None or estimate.high is None:
        return text
    return f"{text} [{100 * estimate.low:.1f}, {100 * estimate.high:.1f}]"


def _draw(
    out: Path, worst: Sequence[JudgedGraph], tables: Sequence[GraphTable], references: Mapping[str, GraphTable]
) -> dict[tuple[int, str], Path]:
    """(number among the worst, "graph" or "reference") -> picture; none of what has nothing to draw."""
    pictures: dict[tuple[int, str], Path] = {}
    for number, one in enumerate(worst):
        # names are from anywhere, and become part of a file's name
        stem = f"{number}_{re.sub(r'[^0-9A-Za-z_-]', '_', one.graph_id)[:60]}"
        graphs = {"reference": references[one.split][one.position]}
        if one.place is not None:
            graphs["graph"] = tables[one.place[0]][one.place[1]]
        for side, graph in graphs.items():
            if graph.nodes:
                path = out / PICTURES_FOLDER / f"{stem}_{side}.png"
                pictures[number, side] = draw_graph(graph, path, f"{graph.graph_id}, {graph.source} ({side})")
    return pictures
