"""Reads what /metrics says with Prometheus' own parser, and the rules of alerts with a parser of PromQL.

metrics_check.py text        reads OpenMetrics text from standard input; prints one JSON line a family
metrics_check.py rules FILE  prints one JSON line a rule: its name, and the metrics that it asks for
"""

import json
import sys

import promql_parser
import yaml
from prometheus_client.openmetrics.parser import text_string_to_metric_families


def families(text):
    for family in text_string_to_metric_families(text):
        samples = [[s.name, s.labels, s.value] for s in family.samples]
        yield {"name": family.name, "type": family.type, "unit": family.unit, "help": family.documentation, "samples": samples}


def asked_for(expression):
    found = set()

    def visit(node):
        if isinstance(node, promql_parser.VectorSelector):
            found.add(node.name)
        return True

    promql_parser.walk(expression, visit)
    return sorted(found)


def rules(path):
    with open(path, encoding="utf-8") as file:
        groups = yaml.safe_load(file)["groups"]
    for rule in (rule for group in groups for rule in group["rules"]):
        for needed in ("summary", "description"):
            assert rule["annotations"][needed], f"{rule['alert']} has no {needed}"
        if "for" in rule:
            promql_parser.parse_duration(rule["for"])
        yield {"alert": rule["alert"], "metrics": asked_for(promql_parser.parse(rule["expr"]))}


def main():
    told = families(sys.stdin.read()) if sys.argv[1] == "text" else rules(sys.argv[2])
    for line in told:
        print(json.dumps(line, allow_nan=False))


main()
