"""The long form: `python -m tests.fire --cases 1000 --kills 30 --seed 42`. Prints the scorecard; 1 when a gate fails."""

import argparse
import asyncio
import os
import random
import subprocess
import sys
import tempfile
from pathlib import Path
from shutil import rmtree

from tests.fire import scenarios, scorecard
from tests.fire.site import ROOT

SCENES = ("storm", "backlog", "crowd", "tests")


def main() -> int:
    asked = arguments()
    again = repeated(asked)
    sys.stdout.write(f"{again}\n")
    sys.stdout.flush()
    base = Path(tempfile.mkdtemp(prefix="kefu-fire-"))
    card = scorecard.Scorecard()
    asyncio.run(play(asked, base, card))
    if "tests" in asked.scenes:
        quote(card, "R8", "recorded histories replay", "tests/test_replay.py")
        quote(card, "R9", "what stands still is told within a minute", "tests/test_watch.py")
    card.load = scorecard.load_of(asked.seed, asked.cases, asked.kills, asked.rate)
    card.rows.sort(key=lambda row: int(row.id[1:]))
    card.print(again)
    if card.failed or asked.keep:
        sys.stdout.write(f"what it left: {base}\n")
    else:
        rmtree(base)
    return 1 if card.failed else 0


def repeated(asked: argparse.Namespace) -> str:
    """The command that does the same once more."""
    told = {name: getattr(asked, name) for name in ("rate", "rungs", "outage", "crowd")}
    told |= {"scenes": ",".join(asked.scenes)}
    usual = {name: parser().get_default(name) for name in told} | {"scenes": ",".join(SCENES)}
    if told == usual:
        return f"make chaos SEED={asked.seed} CASES={asked.cases} KILLS={asked.kills}"
    first = {name: getattr(asked, name) for name in ("seed", "cases", "kills")}
    return " ".join(["python -m tests.fire", *(f"--{name}={value}" for name, value in (first | told).items())])


def arguments() -> argparse.Namespace:
    return parser().parse_args()


def parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.fire", description=__doc__)
    parser.add_argument("--seed", type=int, default=random.randrange(10_000))
    parser.add_argument("--cases", type=int, default=1000)
    parser.add_argument("--kills", type=int, default=30)
    parser.add_argument("--rate", type=float, default=2.5, help="complaints a second")
    parser.add_argument("--rungs", type=int, default=1000, help="due during the outage")
    parser.add_argument("--outage", type=float, default=30, help="seconds")
    parser.add_argument("--crowd", type=int, default=20, help="business numbers, each sent by 50 at once")
    parser.add_argument("--keep", action="store_true", help="leave the data directories")
    parser.add_argument("--scenes", type=lambda names: names.split(","), default=list(SCENES), help=",".join(SCENES))
    return parser


async def play(asked: argparse.Namespace, base: Path, card: scorecard.Scorecard) -> None:
    if "storm" in asked.scenes:
        report, plan = await scenarios.storm(
            base / "storm", asked.seed, asked.cases, asked.kills, asked.rate, sample=100
        )
        scorecard.of_storm(card, plan, report)
    if "backlog" in asked.scenes:
        seen = await scenarios.backlog(base / "backlog", asked.seed, asked.rungs, asked.outage, openings=12)
        scorecard.of_backlog(card, seen)
    if "crowd" in asked.scenes:
        scorecard.of_crowd(card, await scenarios.crowd(base / "crowd", asked.seed, asked.crowd, copies=50))


def quote(card: scorecard.Scorecard, id: str, claim: str, file: str) -> None:
    """Let another test say what it found."""
    if not (ROOT / file).exists():
        scorecard.of_tests(card, id, claim, None, f"{file} is not there")
        return
    env = os.environ | {"KEFU_TEST_AS_SHIPPED": "1"}
    ran = subprocess.run(
        [sys.executable, "-m", "pytest", "-n0", file], cwd=ROOT, env=env, capture_output=True, text=True, check=False
    )
    said = ran.stdout.strip().splitlines()
    scorecard.of_tests(card, id, claim, ran.returncode == 0, f"{file}: {said[-1] if said else ran.stderr[-200:]}")


if __name__ == "__main__":
    sys.exit(main())
