#!/usr/bin/env bash
# From a table of measurements to a budget plan, with the planner's commands alone (requirements/plan.lock is enough).
#   examples/plan_a_budget.sh [TABLE.csv] [BUDGET]
# The table needs a size, a resource (here compute in FLOPs) and a loss column. The default is the published study.
set -euo pipefail
here=$(cd "$(dirname "$0")/.." && pwd)
table=${1:-$here/tests/data/published/base_compute.csv}
budget=${2:-2000gpu-h}

echo "1. Does the law hold on this table, and how surely is it known?"
rlscale fit "$table"

echo "2. What would a 72B model reach with 1e21 FLOPs of training?"
rlscale forecast "$table" --n 72B --x 1e21

echo "3. What does $budget buy on H100s, and which size is best? 54k problems are at hand."
rlscale plan "$table" --budget "$budget" --problems 54k

echo "4. The cheapest way to a loss of 0.40, and what it costs to be 80 % sure of it (from the JSON that programs read):"
rlscale plan "$table" --budget "$budget" --target-loss 0.40 --json | python3 -c '
import json, sys
for way in json.load(sys.stdin)["targets"]:
    cost, sure = (way[name] and round(way[name]["gpu_hours"]) for name in ("cost", "cost_80"))
    print(way["size"], "cannot get there" if cost is None else f"{cost} GPU-h, 80 % sure: {sure or chr(45)}")'
