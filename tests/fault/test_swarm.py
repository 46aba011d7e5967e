"""Many real connections lose a real broker and come back as the simulation says."""

from pathlib import Path

from edge_agent.jobs.reconnect import Policy, policy
from scripts.benchlib.reconnect import CONNECTIONS, distance, observe, simulate

# Twenty times as fast as configured.
LONGEST_S, OUTAGE_S = 6.0, 3.0
# Fifty draws lie further than 0.28 from their own distribution once in a thousand times; the rest is a busy machine.
APART = 0.4


def test_fifty_connections_come_back_to_a_real_broker_as_the_simulation_says(tmp_path: Path) -> None:
    seen = observe(tmp_path, CONNECTIONS, longest_s=LONGEST_S, outage_s=OUTAGE_S)
    assert (seen.lost, len(seen.back)) == (CONNECTIONS, CONNECTIONS)
    assert seen.refused > 0, "nobody found the broker away"
    assert min(seen.back) > OUTAGE_S * 0.9
    model = simulate(5000, seen.outage_s, policy(LONGEST_S), seed=0)
    assert distance(seen.back, model.back) < APART
    at_once = simulate(5000, seen.outage_s, Policy(LONGEST_S / 1000, LONGEST_S / 1000), seed=0)
    assert distance(seen.back, at_once.back) > APART
