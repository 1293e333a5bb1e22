//! Metrics read from the system at each scrape: the control group, the process, and the facts about
//! build and model.

use std::fs;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use sterna_engine::request::ModelInfo;

use crate::cgroup::Cgroup;
use crate::{logging, process};

/// The labels of a model's line.
type Facts = Vec<(&'static str, String)>;

/// See the module.
#[derive(Debug)]
pub(super) struct Platform {
    cgroup: Cgroup,
    started: Duration,
    /// Of each model that is loaded.
    models: Mutex<Vec<Facts>>,
}

impl Platform {
    pub(super) fn new(cgroup: Cgroup) -> Self {
        Platform {
            cgroup,
            started: SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default(),
            models: Mutex::default(),
        }
    }

    pub(super) fn loaded(&self, model: &ModelInfo) {
        self.models().push(facts(model));
    }

    pub(super) fn unloaded(&self, model: &ModelInfo) {
        let gone = facts(model);
        let mut models = self.models();
        if let Some(at) = models.iter().position(|it| *it == gone) {
            models.remove(at);
        }
    }

    fn models(&self) -> MutexGuard<'_, Vec<Facts>> {
        self.models.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn facts(model: &ModelInfo) -> Facts {
    vec![
        ("id", model.id.clone()),
        ("architecture", model.architecture.clone()),
        ("head_type", model.head_type.clone()),
        ("kv_type", model.kv_type.clone()),
        ("isa", model.isa.clone()),
        ("parameters", model.parameters.to_string()),
        ("context_length", model.context_length.to_string()),
    ]
}

impl Collector for Platform {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> std::fmt::Result {
        let mut page = Page(encoder);
        page.info(
            "sterna_build",
            "The program",
            &[vec![
                ("version", env!("CARGO_PKG_VERSION").to_owned()),
                ("target", env!("STERNA_TARGET").to_owned()),
            ]],
        )?;
        let models = self.models().clone();
        page.info("sterna_model", "The models that are loaded", &models)?;
        page.gauge(
            "sterna_cpu_limit_cores",
            "CPUs the process may use: the cgroup's quota, else those it may run on",
            self.cgroup.cpu_limit().unwrap_or_else(process::cpus),
        )?;
        let throttling = self.cgroup.throttling();
        page.counter(
            "sterna_cgroup_cpu_periods",
            "Scheduling periods of the cgroup that has the CPU quota",
            throttling.periods as f64,
        )?;
        page.counter(
            "sterna_cgroup_cpu_throttled_periods",
            "Those in which it was held back",
            throttling.throttled_periods as f64,
        )?;
        page.counter(
            "sterna_cgroup_cpu_throttled_seconds",
            "Time it was held back, summed over CPUs",
            throttling.throttled.as_secs_f64(),
        )?;
        let memory = process::memory();
        let group = self.cgroup.memory_usage().unwrap_or_default();
        let machine = process::machine_memory().map_or(0, |machine| machine.total_bytes);
        page.gauge(
            "sterna_memory_limit_bytes",
            "Memory the process may use: the cgroup's limit, else the machine's",
            memory_limit(self.cgroup.memory_limit(), machine) as f64,
        )?;
        page.gauge(
            "sterna_memory_usage_bytes",
            "Memory charged to the cgroup, file pages included; the process's own where there is no cgroup",
            group.total_bytes.max(memory.resident_bytes) as f64,
        )?;
        page.gauge(
            "sterna_memory_working_set_bytes",
            "The same without file pages the kernel would drop first",
            if group.total_bytes > 0 {
                group.working_set_bytes
            } else {
                memory.resident_bytes
            } as f64,
        )?;
        page.counter(
            "sterna_log_lines_dropped",
            "Log lines that nobody took from standard error in time",
            logging::dropped_lines() as f64,
        )?;
        page.counter(
            "process_cpu_seconds",
            "CPU time of the process",
            process::cpu_seconds(),
        )?;
        page.gauge(
            "process_resident_memory_bytes",
            "Resident memory of the process",
            memory.resident_bytes as f64,
        )?;
        page.gauge(
            "process_start_time_seconds",
            "Unix time at which the process started",
            self.started.as_secs_f64(),
        )?;
        page.gauge("process_open_fds", "Open file descriptors", open_files())
    }
}

/// The tighter one; 0 where neither is known.
fn memory_limit(group: Option<u64>, machine: u64) -> u64 {
    match group {
        Some(group) if machine == 0 || group < machine => group,
        _ => machine,
    }
}

fn open_files() -> f64 {
    fs::read_dir("/proc/self/fd").map_or(0.0, |files| files.count() as f64)
}

struct Page<'a>(DescriptorEncoder<'a>);

impl Page<'_> {
    fn gauge(&mut self, name: &str, help: &str, value: f64) -> std::fmt::Result {
        self.metric(name, help, &ConstGauge::new(value))
    }

    fn counter(&mut self, name: &str, help: &str, value: f64) -> std::fmt::Result {
        self.metric(name, help, &ConstCounter::new(value))
    }

    fn info(&mut self, name: &str, help: &str, lines: &[Facts]) -> std::fmt::Result {
        if lines.is_empty() {
            return Ok(());
        }
        let help = format!("{help}.");
        let encoder = &mut self.0;
        let mut encoder = encoder.encode_descriptor(name, &help, None, MetricType::Info)?;
        for facts in lines {
            encoder.encode_info(facts)?;
        }
        Ok(())
    }

    fn metric(&mut self, name: &str, help: &str, metric: &impl EncodeMetric) -> std::fmt::Result {
        // A full stop, as the registry puts after its own.
        let encoder =
            self.0
                .encode_descriptor(name, &format!("{help}."), None, metric.metric_type())?;
        metric.encode(encoder)
    }
}
