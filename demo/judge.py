# SPDX-License-Identifier: Apache-2.0
"""What a summary of the demo must look like, and what it must show.  Used by
demo/run.py on its own result, and by the tests on made-up ones.
"""
import math

NONE_KEYS = {"mean_power_w", "requests", "agent_violation_percent",
             "client_violation_percent"}
BASIC_KEYS = NONE_KEYS | {"saving_percent", "raises", "lowerings", "pstate_share"}
BLIND_OVER_PERCENT = 2  # Clients' violations from which agents must see some,
BLIND_SHARE = 0.25      # and how much of them at least.
AGENTS_SEE = "agents see at least a quarter of the violations that clients see"


def shape_faults(summary):
    """Why it isn't what build/demo/summary.json shall be."""
    faults = []
    if set(summary) != {"platform", "policies"}:
        return ["its keys are %s" % sorted(summary)]
    if set(summary["policies"]) != {"none", "basic"}:
        return ["its policies are %s" % sorted(summary["policies"])]
    for name, keys in (("none", NONE_KEYS), ("basic", BASIC_KEYS)):
        policy = summary["policies"][name]
        if set(policy) != keys:
            faults.append("the keys of %s are %s" % (name, sorted(policy)))
            continue
        for key in sorted(keys - {"pstate_share"}):
            value = policy[key]
            if isinstance(value, bool) or not isinstance(value, (int, float)) \
                    or not math.isfinite(value):
                faults.append("%s of %s is %r" % (key, name, value))
            elif value < 0 and key != "saving_percent":
                faults.append("%s of %s is below 0" % (key, name))
        for key in ("agent_violation_percent", "client_violation_percent"):
            if isinstance(policy[key], (int, float)) and policy[key] > 100:
                faults.append("%s of %s is over 100" % (key, name))
    shares = summary["policies"]["basic"].get("pstate_share")
    if not isinstance(shares, dict) or not shares:
        faults.append("there are no shares of p-states")
    elif any(not 0 <= share <= 1 for share in shares.values()) \
            or abs(sum(shares.values()) - 1) > 0.01:
        faults.append("the shares of p-states don't make 1: %s" % shares)
    return faults


def is_blind(policy):
    """The agents see less than a quarter of what the clients suffer."""
    clients = policy["client_violation_percent"]
    return clients > BLIND_OVER_PERCENT \
        and policy["agent_violation_percent"] < BLIND_SHARE * clients


def blind_policies(summary):
    return [name for name, policy in summary["policies"].items() if is_blind(policy)]


def expectations(summary):
    """What a minute of it is expected to show, each with whether it did."""
    none, basic = summary["policies"]["none"], summary["policies"]["basic"]
    used = [p for p, share in basic["pstate_share"].items() if share > 0.001]
    worse = basic["client_violation_percent"] - none["client_violation_percent"]
    return [
        ("Basic saves at least 5 %", basic["saving_percent"] >= 5),
        ("1,000 requests or more under each policy",
         min(none["requests"], basic["requests"]) >= 1000),
        ("p-states were both raised and lowered",
         basic["raises"] > 0 and basic["lowerings"] > 0),
        ("at least two p-states were used", len(used) >= 2),
        ("clients see at most 8 points more violations than under No PM", worse <= 8),
        (AGENTS_SEE, not blind_policies(summary)),
    ]
