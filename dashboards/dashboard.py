#!/usr/bin/env python3
"""Writes the Grafana dashboard to standard output; `UPDATE=1 make dashboards` puts it into keyless.json.

Names and labels of the metrics are in docs/observability.md. Every query below is run by tests/dashboards
in a Prometheus that scrapes a gateway under traffic.
"""

import itertools
import json

from grafana_foundation_sdk.builders import common, prometheus, stat, table, timeseries
from grafana_foundation_sdk.builders import dashboard as builder
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models import common as kinds
from grafana_foundation_sdk.models import dashboard as models
from grafana_foundation_sdk.models.prometheus import PromQueryFormat

GATEWAY = 'instance=~"$instance"'
CALLERS = GATEWAY + ',issuer=~"$issuer",route=~"$route"'
ENVOY = GATEWAY + ',envoy_http_conn_manager_prefix!="admin"'
# What keyless answers 503 for: nothing of it is the caller's fault.
OWN_FAULT = 'reason=~"keys_unavailable|identity_unavailable|gateway_error|too_many_waiting"'

SOURCE = models.DataSourceRef(type_val="prometheus", uid="${source}")
WIDTH = 24


def rate(metric, labels):
    return f"rate({metric}{{{labels}}}[$__rate_interval])"


def total(metric, labels):
    return f"increase({metric}{{{labels}}}[$__range])"


def share(part, whole):
    return f"sum({part}) / sum({whole})"


def query(expression, legend, *, instant=False, form=None):
    target = prometheus.Dataquery().expr(expression).legend_format(legend)
    if form:
        target.format(form)
    return target.instant() if instant else target.range()


def described(panel, title, description, unit, width, height):
    return panel.title(title).description(description).unit(unit).datasource(SOURCE).span(width).height(height)


def number(title, description, expression, unit, *, warn=None, alarm=None):
    """A number of the whole range of time; from `warn` on it is yellow, from `alarm` on red."""
    steps = [models.Threshold(value=None, color="text" if warn is None else "green")]
    steps += [models.Threshold(value=at, color=color) for at, color in [(warn, "yellow"), (alarm, "red")] if at]
    return (
        described(stat.Panel(), title, description, unit, 4, 4)
        .with_target(query(expression, title, instant=True).ref_id("A"))
        .reduce_options(common.ReduceDataOptions().calcs(["lastNotNull"]))
        .color_mode(kinds.BigValueColorMode.VALUE)
        .graph_mode(kinds.BigValueGraphMode.NONE)
        .thresholds(builder.ThresholdsConfig().mode(models.ThresholdsMode.ABSOLUTE).steps(steps))
        .no_value("–")
    )


def lines(title, description, unit, *targets, width=12, stacked=False):
    """Lines over time, with the last value of each in the legend."""
    legend = common.VizLegendOptions().show_legend(True).placement(kinds.LegendPlacement.BOTTOM)
    legend = legend.display_mode(kinds.LegendDisplayMode.LIST).calcs(["lastNotNull"])
    panel = described(timeseries.Panel(), title, description, unit, width, 8)
    for target, name in zip(targets, "ABC"):
        panel.with_target(query(*target).ref_id(name))
    if stacked:
        panel.stacking(common.StackingConfig().mode(kinds.StackingMode.NORMAL)).fill_opacity(40)
    tooltip = common.VizTooltipOptions().mode(kinds.TooltipDisplayMode.MULTI).sort(kinds.SortOrder.DESCENDING)
    return panel.min(0).legend(legend).tooltip(tooltip).show_points(kinds.VisibilityMode.NEVER)


def numbers():
    requests = total("keyless_requests", CALLERS)
    refused = total("keyless_requests", CALLERS + ',verdict="refused"')
    own_fault = total("keyless_requests", f"{CALLERS},{OWN_FAULT}")
    answers = total("keyless_answers", CALLERS)
    exact = total("keyless_answers", CALLERS + ',basis="exact"')
    yield number("Requests", "Decided by keyless in this range of time.", f"sum({requests})", "short")
    yield number(
        "Refused", "Share of requests that were refused, for any reason.", share(refused, requests), "percentunit",
        warn=0.1, alarm=0.5,
    )
    yield number(
        "The gateway's fault", "Share of requests that were refused because keys, identity or the gateway failed.",
        f"(sum({own_fault}) or vector(0)) / sum({requests})", "percentunit", warn=0.0001, alarm=0.01,
    )
    yield number("Tokens", "Input and output, of any basis.", f"sum({total('keyless_tokens', CALLERS)})", "short")
    yield number(
        "Cost", "By `prices`, in units of your currency, of any basis. Answers without a price are not in it.",
        f"sum({total('keyless_cost', CALLERS)}) / 1e6", "short",
    )
    yield number(
        "Not exact", "Share of counted answers whose usage is estimated or absent.",
        f"1 - {share(exact, answers)}", "percentunit", warn=0.05, alarm=0.2,
    )


def decisions():
    requests = rate("keyless_requests", CALLERS)
    refused = rate("keyless_requests", CALLERS + ',verdict="refused"')
    yield lines(
        "Requests by decision", "What keyless decided.", "reqps",
        (f"sum by (verdict) ({requests})", "{{verdict}}"), stacked=True,
    )
    yield lines(
        "Refusals by code", "The codes are those of docs/errors.md.", "reqps",
        (f"sum by (reason) ({refused})", "{{reason}}"), stacked=True,
    )
    admitted = rate("keyless_requests", CALLERS + ',verdict="admitted"')
    yield lines(
        "Admitted by issuer and route", "An issuer `none` is a public route, a probe or a preflight.", "reqps",
        (f"sum by (issuer, route) ({admitted})", "{{issuer}} {{route}}"),
    )
    yield lines(
        "Refused by issuer and route", "An issuer `none` is a request whose token names no issuer that is known.", "reqps",
        (f"sum by (issuer, route) ({refused})", "{{issuer}} {{route}}"),
    )


def latencies():
    bucket = f"sum by (le) ({rate('envoy_http_downstream_rq_time_bucket', ENVOY)})"
    quantiles = [(f"histogram_quantile({q}, {bucket})", f"p{round(q * 100)}") for q in (0.5, 0.9, 0.99)]
    yield lines(
        "Duration of requests", "At Envoy's listener, from the first byte of the request to the last of the answer.",
        "ms", *quantiles,
    )
    upstream = f"sum by (le, envoy_cluster_name) ({rate('envoy_cluster_upstream_rq_time_bucket', GATEWAY)})"
    yield lines(
        "Duration at each cluster, p90", "Backends, issuers and IMDS.", "ms",
        (f"histogram_quantile(0.9, {upstream})", "{{envoy_cluster_name}}"),
    )
    yield lines(
        "Open requests",
        "A gap between the two is requests that wait in the gateway: for keys, for an identity token, or for their bodies.",
        "short",
        (f"sum(envoy_http_downstream_rq_active{{{ENVOY}}})", "open"),
        (f"sum(envoy_cluster_upstream_rq_active{{{GATEWAY}}})", "of them at a cluster"),
    )
    classes = rate("envoy_cluster_upstream_rq_xx", GATEWAY)
    yield lines(
        "Answers of each cluster", "By class of the status.", "reqps",
        (
            f"sum by (envoy_cluster_name, envoy_response_code_class) ({classes})",
            "{{envoy_cluster_name}} {{envoy_response_code_class}}xx",
        ),
    )


def fetches():
    result = rate("keyless_fetches", GATEWAY)
    failed = rate("keyless_fetches", GATEWAY + ',result!="ok"')
    yield lines(
        "Fetches", "Of key sets (`jwks`) and of identity tokens (`identity`), with any result.", "reqps",
        (f"sum by (kind, name) ({result})", "{{kind}} {{name}}"),
    )
    yield lines(
        "Failed fetches by result", "The results are those of docs/observability.md.", "reqps",
        (f"sum by (kind, name, result) ({failed})", "{{kind}} {{name}} {{result}}"),
    )
    yield lines(
        "Age of keys and identity tokens", "How long ago what is in use was requested; the oldest of all gateways.", "s",
        (f"max by (kind, name) (time() - keyless_asked_at{{{GATEWAY}}})", "{{kind}} {{name}}"), width=8,
    )
    yield lines(
        "Time left", "Until what is in use must no longer be used; the shortest of all gateways. At 0, callers get 503.", "s",
        (f"clamp_min(min by (kind, name) (keyless_good_until{{{GATEWAY}}} - time()), 0)", "{{kind}} {{name}}"), width=8,
    )
    yield lines(
        "Unusable keys, rejected identities", "Keys of a key set that cannot be used, and answers 401 of backends to an identity.",
        "short",
        (f"max by (name) (keyless_unusable_keys{{{GATEWAY}}})", "unusable keys of {{name}}"),
        (f"sum by (name) (increase(keyless_rejections{{{GATEWAY}}}[$__rate_interval]))", "rejected {{name}}"), width=8,
    )


def usage():
    tokens = rate("keyless_tokens", CALLERS)
    answers = rate("keyless_answers", CALLERS)
    yield lines(
        "Tokens by deployment", "Per second, of any basis.", "short",
        (f"sum by (deployment, type) ({tokens})", "{{deployment}} {{type}}"), stacked=True,
    )
    yield lines(
        "Cost by deployment", "Per hour, in units of your currency.", "short",
        (f"sum by (deployment) ({rate('keyless_cost', CALLERS)}) * 3600 / 1e6", "{{deployment}}"), stacked=True,
    )
    yield lines(
        "Answers by basis", "Share of those that are exact, estimated (a caller or a backend left early) or absent.", "percentunit",
        (f"sum by (basis) ({answers}) / on () group_left sum({answers})", "{{basis}}"), width=8, stacked=True,
    )
    yield lines(
        "Parts of tokens", "Per second. They are in the tokens above: do not add them.", "short",
        (f"sum by (part) ({rate('keyless_token_parts', CALLERS)})", "{{part}}"), width=8,
    )
    yield lines(
        "Answers without a price", "Per second. Their cost is in no sum.", "reqps",
        (f"sum by (route, deployment) ({rate('keyless_unpriced', CALLERS)})", "{{route}} {{deployment}}"), width=8,
    )
    yield spent()


def spent():
    """Who spent what in the range of time, one row for each issuer, route, deployment and basis."""
    by = "sum by (issuer, route, deployment, basis)"
    columns = [
        ("answers", total("keyless_answers", CALLERS), ""),
        ("input", total("keyless_tokens", CALLERS + ',type="input"'), ""),
        ("output", total("keyless_tokens", CALLERS + ',type="output"'), ""),
        ("cost", total("keyless_cost", CALLERS), " / 1e6"),
    ]
    panel = described(table.Panel(), "Usage and cost in this range of time", "Bases are never added up.", "short", WIDTH, 8)
    for name, expression, scale in columns:
        target = query(f"{by} ({expression}){scale}", name, instant=True, form=PromQueryFormat.TABLE)
        panel.with_target(target.ref_id(name))
    labels = ["issuer", "route", "deployment", "basis"]
    order = {name: place for place, name in enumerate(labels + [f"Value #{name}" for name, *_ in columns])}
    names = {f"Value #{name}": name for name, *_ in columns}
    organize = {"excludeByName": {"Time": True}, "indexByName": order, "renameByName": names}
    return panel.with_transformation(models.DataTransformerConfig(id_val="merge", options={})).with_transformation(
        models.DataTransformerConfig(id_val="organize", options=organize)
    )


def limits():
    checks = rate("keyless_limit_checks", GATEWAY)
    near = rate("keyless_limit_checks", GATEWAY + ',result="near"')
    over = rate("keyless_limit_checks", GATEWAY + ',result=~"exhausted|would_exhaust"')
    yield lines(
        "Checks of limits", "`would_exhaust` is a limit with `report_only`.", "reqps",
        (f"sum by (limit, result) ({checks})", "{{limit}} {{result}}"), width=6,
    )
    yield lines(
        "Share near the limit", "Of the requests that fall under it: those that found four fifths or more of it used.", "percentunit",
        (f"sum by (limit) ({near}) / sum by (limit) ({checks})", "{{limit}}"), width=6,
    )
    yield lines(
        "Share over the limit", "Of the requests that fall under it.", "percentunit",
        (f"sum by (limit) ({over}) / sum by (limit) ({checks})", "{{limit}}"), width=6,
    )
    yield lines(
        "Forgotten counters", "Counters of limits that were given up before their window was over: raise `ledger.entries`.", "short",
        (f"sum by (instance) ({rate('keyless_ledger_evicted', GATEWAY)})", "{{instance}}"), width=6,
    )


def module():
    # In a mesh the name has the namespace, too.
    reloads = rate("", '__name__=~"envoy_wasm_.*keyless_vm_reload_success",' + GATEWAY)
    yield lines(
        "Traps", "New VMs after a trap of the module. Its requests are refused with 503.", "reqps",
        (f"sum by (instance) ({reloads})", "{{instance}}"), width=8,
    )
    in_a_mesh = 'authz_enforce_result="denied",' + GATEWAY
    refused = f"{rate('envoy_http_rbac_denied', GATEWAY)} or {rate('envoy_http_rbac', in_a_mesh)}"
    yield lines(
        "Refused by the guard", "403 of Envoy's RBAC filter: requests that keyless did not see.", "reqps",
        (f"sum by (instance) ({refused})", "{{instance}}"), width=8,
    )
    yield lines(
        "Signatures verified by Envoy", "1, or 0 where the module must do it in its sandbox, which takes more CPU.", "short",
        (f"min by (instance) (keyless_host_crypto{{{GATEWAY}}})", "{{instance}}"), width=8,
    )


ROWS = [
    ("Callers: who is admitted, and who is not", decisions),
    ("Durations and waits", latencies),
    ("Keys and identities", fetches),
    ("Usage and cost", usage),
    ("Limits", limits),
    ("The module in Envoy", module),
]


def variable(name, metric):
    return (
        builder.QueryVariable(name)
        .datasource(SOURCE)
        .query(f"label_values({metric}, {name})")
        .refresh(models.VariableRefresh.ON_TIME_RANGE_CHANGED)
        .sort(models.VariableSort.ALPHABETICAL_ASC)
        .multi(True)
        .include_all(True)
        .all_value(".*")
    )


def whole():
    board = (
        builder.Dashboard("keyless")
        .uid("keyless")
        .description("Callers, keys, identities, usage, cost and limits of keyless in Envoy.")
        .tags(["envoy", "keyless", "openai"])
        .time("now-3h", "now")
        .refresh("1m")
        .timezone("browser")
        .tooltip(models.DashboardCursorSync.CROSSHAIR)
        .editable()
        .with_variable(builder.DatasourceVariable("source").label("data source").type("prometheus"))
        .with_variable(variable("instance", "keyless_host_crypto"))
        .with_variable(variable("issuer", "keyless_requests"))
        .with_variable(variable("route", "keyless_requests"))
    )
    ids = itertools.count(1)
    for panel in numbers():
        board.with_panel(panel.id(next(ids)))
    for title, panels in ROWS:
        board.with_row(builder.Row(title).id(next(ids)))
        for panel in panels():
            board.with_panel(panel.id(next(ids)))
    return board.build()


if __name__ == "__main__":
    print(json.dumps(whole(), cls=JSONEncoder, indent=1, sort_keys=True))
