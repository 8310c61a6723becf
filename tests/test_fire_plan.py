"""The fire's plan, before anything burns: who is to die, and how a run says how to repeat it."""

import random
import subprocess
import sys
from collections import Counter

import pytest

from tests.fire.plan import AFTER, bearable, the_deaths
from tests.fire.site import ROOT

PARTS = ("server", "worker", "relay", "watch", "post", "api")
SEEDS = range(200)


@pytest.mark.parametrize(("kills", "span"), [(4, 24.0), (5, 60.0), (10, 120.0), (30, 400.0)])
def test_the_engine_dies_in_every_storm_and_so_does_each_failpoint(kills: int, span: float):
    for seed in SEEDS:
        deaths = list(the_deaths(random.Random(f"{seed}/deaths"), kills, span, PARTS))
        assert len(deaths) == kills
        planned = Counter((death.part, death.after) for death in deaths)
        assert planned["server", None] >= 1
        assert all(planned[failpoint] >= 1 for failpoint in AFTER)
        assert all(bearable([death.at for death in deaths if death.part == part]) for part in PARTS)
        again = list(the_deaths(random.Random(f"{seed}/deaths"), kills, span, PARTS))
        assert again == deaths, "a seed is a plan"


@pytest.mark.parametrize("kills", [0, 1, 2, 3])
def test_of_few_deaths_the_first_is_the_engines(kills: int):
    for seed in SEEDS:
        deaths = the_deaths(random.Random(seed), kills, 60.0, PARTS)
        assert Counter(death.part for death in deaths if death.after is None) == Counter({"server": min(kills, 1)})


def fire(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "tests.fire", *words], cwd=ROOT, capture_output=True, text=True, check=False
    )


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the fire reads /proc")
def test_a_run_that_breaks_down_has_said_first_how_to_repeat_it():
    broken = fire("--seed", "7", "--cases", "2", "--kills", "20")
    assert broken.returncode == 1
    assert broken.stdout.splitlines()[0] == "make chaos SEED=7 CASES=2 KILLS=20"
    assert "20 deaths in 1 s are more than the supervisor bears" in broken.stderr


def test_a_run_that_is_not_the_usual_one_says_all_that_it_was_told():
    said = fire("--seed", "7", "--cases", "2", "--kills", "0", "--outage", "5", "--scenes", "none")
    assert said.returncode == 0, said.stderr
    assert said.stdout.splitlines()[0] == (
        "python -m tests.fire --seed=7 --cases=2 --kills=0 --rate=2.5 --rungs=1000 --outage=5.0 --crowd=20 --scenes=none"
    )
