"""Alerts, dashboard and scalers ask for metrics that a server shows."""

import pytest

import metrics


@pytest.fixture(scope="module")
def shown(running):
    # Series with the labels of answered requests are there once there was one of each.
    assert running.ask("/v1/completions", {"prompt": "a", "max_tokens": 1})[0] == 200
    status, page = running.ask("/metrics")
    assert status == 200
    return metrics.series(page)


def test_expressions_are_promql(rendered):
    read = [selector for _, promql in metrics.expressions(rendered) for selector in metrics.selectors(promql)]
    assert len(read) > 30
    # All of one job, or another application of the same cluster would be counted.
    assert {value for name, matchers in read for label, _, value in matchers if label == "job"} == {"sterna"}
    assert all(any(label == "job" for label, _, _ in matchers) for _, matchers in read)


def test_every_metric_is_listed(rendered):
    for where, promql in metrics.expressions(rendered):
        assert metrics.unlisted(promql) == [], where


@pytest.mark.parametrize(
    ("promql", "found"),
    [
        ('rate(sterna_tokens_total{job="sterna"}[5m])', ["sterna_tokens_total"]),
        ('sterna_http_requests_total{path="/"}', ["sterna_http_requests_total{path}"]),
        ("sum by (reason) (sterna_ready)", ["sterna_ready{reason}"]),
    ],
)
def test_an_unlisted_metric_is_found(promql, found):
    assert metrics.unlisted(promql) == found


def test_every_metric_is_shown(rendered, shown):
    for where, promql in metrics.expressions(rendered):
        assert metrics.unknown(promql, shown) == [], where


def test_endpoint_pickers_find_theirs(shown):
    for name in ("vllm:num_requests_waiting", "vllm:num_requests_running", "vllm:kv_cache_usage_perc"):
        assert name in shown


@pytest.mark.parametrize(
    ("promql", "found"),
    [
        ('rate(sterna_tokens_total{job="sterna"}[5m])', ["sterna_tokens_total"]),
        ('sum by (le) (rate(a_bucket[5m])) / absent(b) or -c', ["a_bucket", "b", "c"]),
        ('sterna_http_requests_total{route="/none"}', ['sterna_http_requests_total{route="/none"}']),
        ('up{job="sterna"} == 0', []),
    ],
)
def test_an_unknown_metric_is_found(shown, promql, found):
    assert metrics.unknown(promql, shown) == found


def test_a_broken_expression_is_an_error():
    with pytest.raises(ValueError, match="parenthesis"):
        metrics.selectors("sum(sterna_sequences_running")
