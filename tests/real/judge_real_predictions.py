"""Published predictions judged without a key, beside what their authors' judges said of them.

    python tests/real/judge_real_predictions.py --out docs/results/videoqa_judging

TempCompass' authors publish judgements of Video-LLaVA's answers: by rules, and of captions by gpt-3.5-turbo. Of
ActivityNet-QA's example predictions nobody's judgements are published; equal texts are what is beside them.
"""

import argparse
import json
import random
import sys
from pathlib import Path

from vidreason.files import write_whole
from vidreason.videoqa.inputs import open_inputs, open_judgements
from vidreason.videoqa.judge_command import THRESHOLD
from vidreason.videoqa.judging.keyless import judge_keyless, judge_name
from vidreason.videoqa.scoring.answers import is_exact
from vidreason.videoqa.scoring.joining import key_of

TASKS = ("multi-choice", "yes_no", "caption_matching", "captioning")


def agreement(pairs: list[tuple[bool, bool]]) -> dict[str, float | int | None]:
    """How two judges agree on what is right.

    Args:
        pairs: What the one and the other say of each answer.

    Returns:
        Numbers of answers by what both said; shares that each calls right and on which they agree, in percent; and
        Cohen's kappa (1960), which is None where chance alone agrees on everything.
    """
    n = len(pairs)
    one, other = sum(a for a, _ in pairs) / n, sum(b for _, b in pairs) / n
    agreed = sum(a == b for a, b in pairs) / n
    by_chance = one * other + (1 - one) * (1 - other)
    return {
        "n": n,
        "keyless": round(100 * one, 2),
        "published": round(100 * other, 2),
        "agreed": round(100 * agreed, 2),
        "kappa": None if by_chance == 1 else round((agreed - by_chance) / (1 - by_chance), 3),
        "only_keyless": sum(a and not b for a, b in pairs),
        "only_published": sum(b and not a for a, b in pairs),
    }


def tempcompass(root: Path, task: str, embed, drawn: int | None = None) -> dict:
    """The keyless judge beside the published one, on the answers that both judged."""
    inputs = open_inputs(str(root / f"video_llava/predictions/{task}.json"), "tempcompass", str(root))
    judged = open_judgements(inputs, str(root / f"video_llava/judged/{task}.json"), "tempcompass")
    published = {key_of(row): row for row in judged.rows("video") if row["status"] == "ok"}
    pairs, other_texts, cosines = [], 0, []
    asked = list(inputs.pairs("video"))
    if drawn is not None and drawn < len(asked):
        asked = random.Random(0).sample(asked, drawn)
    for row in judge_keyless(asked, embed):
        other = published.get(key_of(row))
        if other is None:
            continue
        if other["prediction_sha256"] != row["prediction_sha256"]:
            other_texts += 1  # judged was another text than was published
            continue
        pairs.append((row["is_right"], other["is_right"]))
        cosines.append((row["score"], other["is_right"]))
    found = {**agreement(pairs), "other_texts": other_texts}
    return {**found, "best": best_threshold(cosines)} if task == "captioning" else found  # the others go by rules


def best_threshold(marks: list[tuple[float, bool]]) -> dict[str, float]:
    """The cosine at which most would be agreed, known only afterwards: what a fitted threshold could reach at most."""
    right = sum(is_right for _, is_right in marks)
    best, at, above_right, above = len(marks) - right, 2.0, 0, 0  # nothing is right
    ordered = sorted(marks, key=lambda mark: -mark[0])
    for place, (cosine, is_right) in enumerate(ordered):
        above, above_right = above + 1, above_right + is_right
        if place + 1 < len(ordered) and ordered[place + 1][0] == cosine:
            continue
        agreed = above_right + (len(marks) - right) - (above - above_right)
        if agreed > best:
            best, at = agreed, cosine
    return {"agreed": round(100 * best / len(marks), 2), "threshold": round(at, 3)}


def activitynet_qa(root: Path, embed) -> dict:
    """The keyless judge beside equal texts, over all 18,000 predictions, and what it takes for the same."""
    inputs = open_inputs(str(root / "val_predictions_example.json"), "activitynet_qa", str(root))
    texts = {key_of(question): (question, prediction) for question, prediction in inputs.pairs("video")}
    pairs, taken = [], {}
    for row in judge_keyless(inputs.pairs("video"), embed):
        question, prediction = texts[key_of(row)]
        equal = is_exact(prediction["prediction"], [question["answer"]], "plain")
        pairs.append((row["is_right"], equal))
        if row["is_right"] and not equal:
            both = f"{prediction['prediction']} = {question['answer']}"
            taken.setdefault(both, [0, round(row["score"], 2)])[0] += 1
    most = sorted(taken.items(), key=lambda entry: -entry[1][0])[:40]
    found = agreement(pairs)
    found["equal"] = found.pop("published")
    return {**found, "taken_for_equal": [{"texts": both, "times": n, "cosine": c} for both, (n, c) in most]}


def main() -> int:
    """Judge, print and write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=Path("../shared/data/videoqa"), help="folder of the benchmarks")
    parser.add_argument("--out", type=Path, required=True, help="folder of the report")
    parser.add_argument("--captions", type=int, default=500, help="so many of the 2,004 captions, which take longest")
    args = parser.parse_args()
    from vidreason.sentence_embedding import minilm

    embed, report = minilm(), {"judge": judge_name(True, THRESHOLD)}
    args.out.mkdir(parents=True, exist_ok=True)
    report["activitynet_qa"] = activitynet_qa(args.data / "activitynet_qa", embed)
    for task in TASKS:
        drawn = args.captions if task == "captioning" else None
        report[f"tempcompass/{task}"] = tempcompass(args.data / "tempcompass", task, embed, drawn)
    write_whole(args.out / "report.json", json.dumps(report, indent=2, ensure_ascii=False) + "\n")
    print(json.dumps(report, indent=2, ensure_ascii=False))
    return 0


if __name__ == "__main__":
    sys.exit(main())
