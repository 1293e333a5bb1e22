"""Alerts fire for what they are for and for nothing else: promtool evaluates them on made-up
series.
"""

import shutil
import subprocess

import pytest
import yaml

import overlays

# promtool's notation: first value, then + what is added each half minute x how often.
FLAT, RISING = "0+0x80", "0+300x80"

# A replica in good order, 300 requests and 300 periods each half minute. Histograms by their upper
# bounds.
SOUND = {
    "up": "1+0x80",
    "sterna_ready": "1+0x80",
    "sterna_sequences_queued": "3+0x80",
    "sterna_sequences_queued_limit": "64+0x80",
    'sterna_requests_rejected_total{reason="queue_full"}': FLAT,
    # Wrong requests are the clients' own affair, however many.
    'sterna_requests_rejected_total{reason="invalid"}': RISING,
    'sterna_http_requests_total{status="200"}': RISING,
    'sterna_time_to_first_token_seconds_bucket{le="5"}': RISING,
    'sterna_time_to_first_token_seconds_bucket{le="10"}': RISING,
    'sterna_time_to_first_token_seconds_bucket{le="+Inf"}': RISING,
    'sterna_inter_token_latency_seconds_bucket{le="0.25"}': RISING,
    'sterna_inter_token_latency_seconds_bucket{le="0.5"}': RISING,
    'sterna_inter_token_latency_seconds_bucket{le="+Inf"}': RISING,
    "sterna_cgroup_cpu_periods_total": RISING,
    "sterna_cgroup_cpu_throttled_periods_total": "0+30x80",
    "sterna_memory_working_set_bytes": "500+0x80",
    "sterna_memory_limit_bytes": "1000+0x80",
    "sterna_kv_cache_usage_ratio": "0.5+0x80",
    'sterna_generations_finished_total{reason="stop"}': RISING,
    'sterna_generations_finished_total{reason="error"}': FLAT,
    'sterna_generations_finished_total{reason="drain"}': FLAT,
    "sterna_engine_restarts_total": FLAT,
}

FAULTS = [
    ("SternaDown", {"up": "0+0x80"}),
    ("SternaNotReady", {"sterna_ready": "0+0x80"}),
    ("SternaQueueLong", {"sterna_sequences_queued": "33+0x80"}),
    ("SternaRejecting", {'sterna_requests_rejected_total{reason="queue_full"}': "0+6x80"}),
    ("SternaRejecting", {'sterna_requests_rejected_total{reason="memory"}': "0+6x80"}),
    ("SternaFirstTokenSlow", {'sterna_time_to_first_token_seconds_bucket{le="5"}': "0+240x80"}),
    ("SternaTokensSlow", {'sterna_inter_token_latency_seconds_bucket{le="0.25"}': "0+240x80"}),
    ("SternaThrottled", {"sterna_cgroup_cpu_throttled_periods_total": "0+90x80"}),
    ("SternaMemoryNearLimit", {"sterna_memory_working_set_bytes": "950+0x80"}),
    ("SternaKvCacheFull", {"sterna_kv_cache_usage_ratio": "0.95+0x80"}),
    ("SternaEngineFailed", {'sterna_generations_finished_total{reason="error"}': "0+0x50 1+0x28"}),
    ("SternaEngineFailed", {"sterna_engine_restarts_total": "0+0x50 1+0x28"}),
    ("SternaStreamsCut", {'sterna_generations_finished_total{reason="drain"}': "0+0x50 2+0x28"}),
]


def with_labels(series):
    """With the labels that Prometheus adds."""
    name, _, labels = series.partition("{")
    return f'{name}{{job="sterna",pod="a"{"," + labels if labels else "}"}'


@pytest.fixture(scope="module")
def rules():
    if not shutil.which("promtool"):
        pytest.skip("there is no promtool here to evaluate alerts (Debian: apt-get install prometheus)")
    return overlays.read("observability/prometheusrule.yaml")["spec"]


def evaluate(rules, folder, series, firing):
    """promtool's verdict on whether exactly these alerts fire after half an hour."""
    (folder / "rules.yaml").write_text(yaml.safe_dump(rules))
    test = {
        "interval": "30s",
        "input_series": [{"series": with_labels(name), "values": values} for name, values in series.items()],
        "promql_expr_test": [
            {
                "expr": 'sum by (alertname) (ALERTS{alertstate="firing"})',
                "eval_time": "30m",
                "exp_samples": [{"labels": f'{{alertname="{alert}"}}', "value": 1} for alert in firing],
            }
        ],
    }
    (folder / "test.yaml").write_text(yaml.safe_dump({"rule_files": ["rules.yaml"], "evaluation_interval": "30s", "tests": [test]}))
    done = subprocess.run(["promtool", "test", "rules", folder / "test.yaml"], capture_output=True, text=True, check=False)
    return done.returncode == 0, done.stdout + done.stderr


def test_a_sound_replica_raises_no_alarm(rules, tmp_path):
    passed, said = evaluate(rules, tmp_path, SOUND, [])
    assert passed, said


@pytest.mark.parametrize(("alert", "series"), FAULTS)
def test_a_fault_raises_its_own_alarm_alone(rules, tmp_path, alert, series):
    passed, said = evaluate(rules, tmp_path, SOUND | series, [alert])
    assert passed, said


def test_every_alert_has_a_fault(rules):
    assert {rule["alert"] for group in rules["groups"] for rule in group["rules"]} == {alert for alert, _ in FAULTS}


def test_a_wrong_expectation_is_noticed(rules, tmp_path):
    passed, said = evaluate(rules, tmp_path, SOUND, ["SternaDown"])
    assert not passed
    assert "SternaDown" in said
